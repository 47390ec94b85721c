import json
import math

import pytest
import torch
from PIL import Image

from pretrain import backbone, checkpoint
from pretrain.command_line import UserError
from transfer import knn, results


def unit(*degrees: float) -> torch.Tensor:
    angle = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_the_nearest_wins_alone_and_the_many_win_together():
    """Training points at 0 degrees (class 0) and at 50, 55, 60 (class 1); the question lies at 20 degrees."""
    train, labels, question = unit(0, 50, 55, 60), torch.tensor([0, 1, 1, 1]), unit(20)
    vote = lambda **settings: knn.accuracy(train, labels, question, torch.tensor([1]), **settings)  # noqa: E731
    assert vote(k=1, temperature=1.0) == 0.0
    assert vote(k=4, temperature=1.0) == 1.0
    assert vote(k=4, temperature=0.01) == 0.0  # cold: exp(cos/T) leaves only the nearest


def test_chunks_do_not_change_the_answer():
    generator = torch.Generator().manual_seed(0)
    train, val = (torch.nn.functional.normalize(torch.randn(n, 8, generator=generator)) for n in (100, 600))
    train_labels, val_labels = (torch.randint(5, (n,), generator=generator) for n in (100, 600))
    whole = sum(
        knn.accuracy(train, train_labels, val[i : i + 1], val_labels[i : i + 1], k=7, temperature=0.1)
        for i in range(600)
    )
    assert knn.accuracy(train, train_labels, val, val_labels, k=7, temperature=0.1) == pytest.approx(whole / 600)


@pytest.fixture(scope="module")
def arguments(scenes):
    data = ["--data", str(scenes / "classification"), "--benchmark", "scenes"]
    return [*data, "--size", "32", "--resize", "32", "--workers", "0"]


def test_result_of_a_backbone_and_of_the_untrained_network(arguments, tmp_path):
    config = {"backbone": {"stem": "imagenet"}}
    about = {"method": "matrix_ssl", "recipe": "demo", "epochs": 3, "seed": 0, "config": config, "commit": "x"}
    checkpoint.export_backbone(tmp_path / "backbone.pth", backbone.random_resnet50(5), about=about)
    knn.main([*arguments, "--weights", str(tmp_path / "backbone.pth"), "--out", str(tmp_path / "a")])
    knn.main(
        [*arguments, "--weights", "random", "--seed", "5", "--out", str(tmp_path / "b"), "--bn-statistics", "initial"]
    )
    [trained], [random] = (results.read(tmp_path / name / "result.json") for name in "ab")
    assert (trained.method, trained.epochs, trained.protocol, trained.n) == ("matrix_ssl", 3, "knn-20", 12)
    assert (random.method, random.epochs, random.weights_sha256) == ("random", 0, "")
    assert trained.value == random.value  # the same weights came by two roads


def test_untrained_network_gets_statistics_of_the_images(scenes):
    """After measuring, the first batch norm sees zero mean and unit variance on the very images it was measured on."""
    images = knn.LabelledFolder(scenes / "classification/train", size=32, resize=32)
    network = backbone.random_resnet50(0)
    knn.measure_statistics(network, images, seed=0, device=torch.device("cpu"))
    seen = []
    network.bn1.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    knn.features(network, images, device=torch.device("cpu"), workers=0)
    assert seen[0].mean((0, 2, 3)).abs().max() < 1e-3 and (seen[0].var((0, 2, 3)) - 1).abs().max() < 1e-2


def test_done_already_and_another_run_in_the_folder(arguments, tmp_path, capsys):
    call = [*arguments, "--weights", "random", "--out", str(tmp_path)]
    knn.main(call)
    knn.main(call)
    assert "done already" in capsys.readouterr().out
    with pytest.raises(UserError, match="of other settings"):
        knn.main([*call, "--k", "5"])
    assert json.loads((tmp_path / "result.json").read_text())["settings"]["k"] == "20"


def test_wrong_input_is_one_line(arguments, scenes, tmp_path):
    call = [*arguments, "--weights", "random", "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match="between 1 and the 24 training images"):
        knn.main([*call, "--k", "25"])
    for split in ("train", "val"):
        (tmp_path / split / "cat").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / split / "cat" / "1.png")
    (tmp_path / "val/dog").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "val/dog/1.png")
    with pytest.raises(UserError, match="same classes; 'dog' is only in one"):
        knn.main([*call, "--data", str(tmp_path)])
    (tmp_path / "val/cat/1.png").write_bytes(b"broken")
    (tmp_path / "val/dog/1.png").unlink()
    with pytest.raises(UserError, match="cat/1.png cannot be read"):
        knn.main([*call, "--data", str(tmp_path), "--k", "1", "--bn-statistics", "initial"])
