import json
import shutil

import pytest
import torch

from analysis import curves
from analysis.extraction import training_curves
from analysis.figures.curves import titles_of
from pretrain import backbones
from pretrain.backbones import resnet
from pretrain.checkpoints import checkpoint
from pretrain.config import BackboneConfig
from pretrain.methods import mae, simsiam
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
def test_information_of_two_views_stands_beside_that_of_one_and_the_log_is_drawn(kept, scenes, tmp_path, capsys):
    """Behind the projector; the run has a log of two lines. Masked auto-encoders see one view, and have entropies."""
    lines = [{"step": step, "loss": -0.5, "matrix_entropy_2": 1.0 + step} for step in (4, 8)]
    (kept / "pretrain" / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    folder = tmp_path / "mae-demo-seed0"
    for step in (2, 4):
        torch.manual_seed(step)
        settings = {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2}
        backbone = {"name": "vit_mini_patch8"}
        network = mae.Method(backbones.build(BackboneConfig(**backbone), side=32), mae.Config(**settings))
        config = {"backbone": backbone, "views": {"recipe": "masked", "min_scale": 0.4}, "method": settings}
        about = {"format": checkpoint.CHECKPOINT, "method": "mae", "recipe": "demo", "epochs": 2, "seed": 0}
        content = {**about, "config": config, "step": step, "model": network.state_dict()}
        checkpoint.save(folder / "pretrain" / "checkpoints" / f"step-{step:06d}.pth", content)
    out = tmp_path / "out"
    call = [str(folder), *arguments(kept, scenes, out), "--views", "--layer", "embeddings"]
    assert curves.main([*call, "--steps", "2"]) == 0
    runs = json.loads((out / "curves.json").read_text())["runs"]
    [one], [two] = runs["mae-demo-seed0"], runs["simsiam-demo-seed0"]
    assert {"matrix-entropy", "matrix-entropy-2", "feature-matrix-entropy-2"} <= one["values"].keys()
    pairs = {f"{side}{name}" for side in ("", "feature-") for name in ("joint-entropy-2", "mutual-information-2")}
    assert not pairs & one["values"].keys() and pairs <= two["values"].keys()
    assert 0 < two["values"]["mutual-information"] < two["values"]["joint-entropy"]
    assert {path.name for path in out.glob("*.png")} == {"curves.png", "information.png", "logged.png"}
    rows = (out / "curves.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[1].startswith("mae-demo-seed0,mae,2,") and "mutual-information-2" in rows[0]
    assert "mutual" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds curves of other views"):
        curves.main([*arguments(kept, scenes, out), "--layer", "embeddings"])


def test_two_runs_of_one_name_are_never_one_curve(kept, scenes, tmp_path):
    other = shutil.copytree(kept, tmp_path / "again" / kept.name)
    with pytest.raises(UserError, match="are both runs called simsiam-demo-seed0; rename one"):
        curves.main([str(other), *arguments(kept, scenes, tmp_path / "both")])
    found = training_curves.Curves(tmp_path / "curves.json", {})
    point = {"method": "simsiam", "variant": "", "seed": 0, "weights_sha256": "a", "values": {}, "warnings": []}
    found.add("run", {**point, "step": 4})
    with pytest.raises(UserError, match=r"holds another run called run \(another seed\)"):
        found.add("run", {**point, "seed": 1, "step": 8})
    assert [p["step"] for p in found.runs["run"]] == [4]


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
