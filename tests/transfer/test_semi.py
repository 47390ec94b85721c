"""The command line of semi-supervised classification: which labels are used, what moves, what is recorded."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pretrain.checkpoints import checkpoint
from runtime import results
from runtime.command_line import UserError
from transfer import semi

pytestmark = pytest.mark.slow

SMALL = ["epochs=2", "batch_size=8", "size=32", "resize=32", "workers=0", "precision=fp32"]


@pytest.fixture(scope="module")
def images(scenes, tmp_path_factory) -> Path:
    """Every training image four times: 12 of each of the 8 classes, so that 10 percent are one of each."""
    root = tmp_path_factory.mktemp("semi")
    shutil.copytree(scenes / "classification/val", root / "val")
    for path in sorted((scenes / "classification/train").glob("*/*")):
        (root / "train" / path.parent.name).mkdir(parents=True, exist_ok=True)
        for copy in "abcd":
            shutil.copy(path, root / "train" / path.parent.name / f"{copy}{path.name}")
    return root


@pytest.fixture(scope="module")
def words(images, backbone_pth):
    def call(out: Path, *more: str) -> list[str]:
        options = f"--protocol semi-demo --fraction 10 --benchmark shapes --data {images} --weights {backbone_pth}"
        return [*options.split(), "--out", str(out), *SMALL, *more]

    return call


@pytest.fixture(scope="module")
def finished(words, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("semi") / "run"
    assert semi.main(words(out)) == 0
    return out


def test_the_result_names_fraction_and_labels(finished):
    records = results.read(finished / "result.json")
    assert {record.protocol for record in records} == {"semi-demo-10pct"}
    assert [record.metric for record in records] == ["top1", "top5", "top1-best"]
    context = json.loads((finished / "result.json").read_text())
    names = (finished / "list.txt").read_text().splitlines()
    assert sorted({name.partition("/")[0] for name in names}) == [name.partition("/")[0] for name in names]
    assert context["labelled"]["images"] == context["train_images"] == len(names) == 8
    assert context["labelled"]["drawn"] == "stratified" and context["labelled"]["seed"] == 0
    assert context["settings"]["lr_backbone"] > 0


def test_the_whole_network_moved(finished, backbone_pth):
    before = checkpoint.read(backbone_pth)["state_dict"]
    after = checkpoint.read(finished / "classifier.pth")["state_dict"]
    assert all(not torch.equal(value, after[f"backbone.{name}"]) for name, value in before.items())


def test_the_list_given_back_is_the_same_run(finished, words, tmp_path):
    assert semi.main(words(tmp_path / "run", "--list", str(finished / "list.txt"))) == 0
    first, second = (checkpoint.read(run / "classifier.pth")["state_dict"] for run in (finished, tmp_path / "run"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    labelled = [json.loads((run / "result.json").read_text())["labelled"] for run in (finished, tmp_path / "run")]
    assert labelled[0]["of_sorted_names_sha256"] == labelled[1]["of_sorted_names_sha256"]
    assert labelled[1]["file"] == "list.txt" and len(labelled[1]["sha256"]) == 64


def test_other_labels_are_another_run(finished, words):
    assert semi.main(words(finished)) == 0  # done already
    with pytest.raises(UserError, match=r"another run: seed \(there 0, here 1\); train_sha256"):
        semi.main(words(finished, "--seed", "1"))


def test_a_damaged_result_is_made_again(words, tmp_path):
    out, short = tmp_path / "run", ["epochs=1", "lr=0.01"]
    assert semi.main(words(out, *short)) == 0
    records = results.read(out / "result.json")
    (out / "result.json").write_text('{"records": [{}]}')
    assert semi.main(words(out, *short)) == 0 and results.read(out / "result.json") == records


def _semi_as_a_rank(words: list[str]) -> None:
    from transfer import semi

    semi.fine_tune(semi.parse(words))


def test_two_processes_fine_tune_the_network_of_one(finished, words, tmp_path, ranks):
    """Batch norm over both ranks' four images: the loss of the first step agrees, and test_classifier.py holds the
    gradients. Later steps do not: eight images of 32 pixels turn a change of 1e-7 in the weights into one of 0.2 in
    the loss.
    """
    ranks(2, _semi_as_a_rank, words(tmp_path / "two"))
    contents = [json.loads((run / "result.json").read_text()) for run in (finished, tmp_path / "two")]
    assert [content["processes"] for content in contents] == [1, 2]
    one, two = (content["history"][0]["loss"] for content in contents)
    assert one == pytest.approx(two, abs=1e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--fraction", "1"], "1 percent of the 12 images of class 'crescent' is not one image"),
        (["--fraction", "5"], "unknown fraction of semi-demo '5'; known: 1, 10"),
        (["--protocol", "linear-demo"], "unknown protocol 'linear-demo'; known: semi-barlow-twins"),
        (["--list", "/nowhere.txt"], "/nowhere.txt does not exist; give --list"),
        (["lr_backbone=0"], "moves the backbone"),
        (["batch_size=16"], "batch_size=16 is more than the 8 training images"),
    ],
)
def test_wrong_input_is_one_line(words, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        semi.main(words(tmp_path / "run", *more))
    assert not (tmp_path / "run").exists()
