import json

import pytest
import torch

from analysis import curves
from analysis.extraction import training_curves
from analysis.figures.curves import titles_of
from pretrain.backbones import resnet
from pretrain.checkpoints import checkpoint
from pretrain.methods import simsiam
from runtime.command_line import UserError


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run with two kept checkpoints and a newest one, each of other weights."""
    folder = tmp_path_factory.mktemp("runs") / "simsiam-demo-seed0"
    settings = {"stop_gradient": True, "projector_width": 16, "predictor_width": 8}
    config = {"backbone": {"stem": "imagenet"}, "views": {"recipe": "scenes", "min_scale": 0.4}, "method": settings}
    about = {"format": checkpoint.CHECKPOINT, "method": "simsiam", "recipe": "demo", "epochs": 2, "seed": 0}
    for step, name in ((10, "checkpoints/step-000010"), (2, "checkpoints/step-000002"), (12, "checkpoint")):
        torch.manual_seed(step)
        network = simsiam.Method(resnet.resnet(zero_init_residual=False), simsiam.Config(**settings))
        content = {**about, "config": config, "step": step, "model": network.state_dict()}
        checkpoint.save(folder / "pretrain" / f"{name}.pth", content)
    return folder


def arguments(kept, scenes, out):
    images = ["--data", str(scenes / "classification/train"), "--size", "32", "--resize", "32"]
    return [str(kept), *images, "--workers", "0", "--out", str(out)]


@pytest.mark.slow
def test_every_kept_checkpoint_is_a_point_in_the_order_of_steps(kept, scenes, tmp_path, capsys, monkeypatch):
    call = arguments(kept, scenes, tmp_path)
    curves.main([*call, "--steps", "10"])
    curves.main(call)
    content = json.loads((tmp_path / "curves.json").read_text())
    [points] = content["runs"].values()
    assert list(content["runs"]) == ["simsiam-demo-seed0"]
    assert [point["step"] for point in points] == [2, 10, 12]
    assert all(point["values"]["rank-intra-cov"] > 0 for point in points)
    assert (tmp_path / "curves.svg").exists() and "2 -> 12" in capsys.readouterr().out
    monkeypatch.setattr(training_curves, "extract", None)  # all is measured: nothing is extracted again
    curves.main(call)
    with pytest.raises(UserError, match="holds curves of other size"):
        curves.main([*call, "--size", "16"])


def test_a_line_has_the_name_that_tables_give_its_row_or_its_folders_where_two_would_be_alike():
    kept, last = {"method": "simsiam", "variant": "wide, step=16"}, {"method": "simsiam", "variant": ""}
    runs = {"a": [kept], "b": [kept, last], "c": [{"method": "mine", "variant": "step=8"}]}
    assert titles_of(runs) == {"a": "SimSiam (wide)", "b": "SimSiam", "c": "mine"}
    assert titles_of(runs | {"d": [last]}) == {name: name for name in "abcd"}


def test_wrong_input_is_one_line(kept, scenes, tmp_path):
    with pytest.raises(UserError, match=r"no kept checkpoints at .*pretrain with log.keep_every=STEPS"):
        curves.main(arguments(tmp_path, scenes, tmp_path))
    with pytest.raises(UserError, match="--per-class 99"):
        curves.main([*arguments(kept, scenes, tmp_path), "--per-class", "99"])
    with pytest.raises(UserError, match="unknown layer"):
        curves.main([*arguments(kept, scenes, tmp_path), "--layer", "head"])
