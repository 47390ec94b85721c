"""kill -9 at any event of the file system: the same command ends as an undisturbed run, and leaves no strays."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def labelled(scenes, backbone_pth, tmp_path):
    """``labelled(protocol, *more)``: the words of a classification on the drawn scenes, two epochs of three steps."""

    def words(protocol: str, *more: str, data: Path = scenes) -> list[str]:
        options = f"--protocol {protocol} --benchmark scenes --data {data} --weights {backbone_pth}"
        small = ["optimizer=nesterov", "epochs=2", "batch_size=8", "size=32", "resize=32", "workers=0"]
        return [*options.split(), "--out", str(tmp_path / "run"), *small, *more]

    return words


def test_fine_tuning(command, tmp_path, killed):
    """Two iterations, a checkpoint after each."""
    words = command(tmp_path / "run", SOLVER__CHECKPOINT_PERIOD=1, TRANSFER__PICTURES=0)
    imports = ("transfer.detection.fine_tuning", "matplotlib.figure")
    assert killed("transfer.train", tmp_path / "run", words, tries=2, imports=imports) >= 2


def test_linear(labelled, tmp_path, killed):
    words, imports = labelled("linear-demo"), ("transfer.classification.classifier_run",)
    assert killed("transfer.linear", tmp_path / "run", words, tries=2, imports=imports) >= 2


def test_fine_tuning_on_all_labels(labelled, tmp_path, killed):
    words = labelled("finetune-demo", "--weights", "random", "network=vit_mini_patch8", "warmup_epochs=1", "ema=0.9")
    words = [word for word in words if not word.startswith("optimizer=")]
    imports = ("transfer.classification.fine_tuning_run",)
    assert killed("transfer.finetune", tmp_path / "run", words, tries=2, imports=imports) >= 2


def test_semi(labelled, scenes, tmp_path, killed):
    """Every training image four times: 10 percent are then one of each class."""
    shutil.copytree(scenes / "classification/val", tmp_path / "images/val")
    for path in sorted((scenes / "classification/train").glob("*/*")):
        folder = tmp_path / "images/train" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        for copy in "abcd":
            shutil.copy(path, folder / f"{copy}{path.name}")
    words = labelled("semi-demo", "--fraction", "10", data=tmp_path / "images")
    imports = ("transfer.classification.classifier_run", "transfer.classification.label_subset")
    assert killed("transfer.semi", tmp_path / "run", words, tries=2, imports=imports) >= 2


def test_knn(scenes, backbone_pth, tmp_path, killed):
    words = f"--benchmark scenes --data {scenes} --weights {backbone_pth} --size 32 --resize 32 --workers 0".split()
    words += ["--out", str(tmp_path / "run")]
    assert killed("transfer.knn", tmp_path / "run", words, tries=2, imports=["transfer.classification.knn_run"]) >= 2
