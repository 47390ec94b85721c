"""Every family of backbone goes from converted weights to a result, with the same proof and the same resumption."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from detectron2.modeling import build_model

from runtime import results
from runtime.command_line import UserError
from transfer import train
from transfer.checkpoints import weights
from transfer.detection import run_config
from transfer.detection.checkpointer import Checkpointer
from transfer.detection.verify_weights import name_in_file

pytestmark = pytest.mark.slow

INPUT = {"order": "RGB", "pixel_mean": [127.5, 127.5, 127.5], "pixel_std": [127.5, 127.5, 127.5]}
R18 = {"MODEL.RESNETS.DEPTH": 18, "MODEL.RESNETS.RES2_OUT_CHANNELS": 64}
ATTO = {"TRANSFER.TIMM.NAME": "convnext_atto"}
CONVERTED = {
    "vit": ("demo-vitdet", {}, {"name": "vit_drawn_patch8", "heads": 3}),
    "resnet18": ("demo-c4", R18, {"name": "resnet18"}),
    "timm": ("convnext-fpn-3x", ATTO, {"name": "timm:convnext_atto"}),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """``drawn(family)``: weights as the conversion would write them, every tensor with values of its own."""
    folder = tmp_path_factory.mktemp("drawn")

    def write(family: str) -> Path:
        name, changes, record = CONVERTED[family]
        path = folder / f"{family}.pkl"
        if not path.exists():
            small = {"MODEL.DEVICE": "cpu", "MODEL.RESNETS.NORM": "BN", "MODEL.FPN.NORM": "BN"}
            state = build_model(run_config.load(name, small | changes)).state_dict()
            chance = np.random.default_rng(0)
            arrays = {
                inside: (value.numpy() + 0.01 * chance.random(value.shape)).astype(np.float32)
                for key, value in state.items()
                if (inside := name_in_file(key)) and not key.endswith(("rel_pos_h", "rel_pos_w", "num_batches_tracked"))
                if not inside.startswith("res5.norm.")
            }
            weights.write(path, arrays, {"method": "drawn", "epochs": 3, "input": INPUT, "backbone": record})
        return path

    return write


MAPS_OF_ATTO = len(timm.create_model("convnext_atto", features_only=True).state_dict())

SHORT = {"TEST__PRECISE_BN__NUM_ITER": 1, "TRANSFER__PICTURES": 1, "SOLVER__WARMUP_ITERS": 0}
OF_800_PIXELS = SHORT | {
    "INPUT__MAX_SIZE_TRAIN": 64,
    "INPUT__MAX_SIZE_TEST": 64,
    "MODEL__RPN__POST_NMS_TOPK_TRAIN": 10,
    "SOLVER__MAX_ITER": 1,
    "TRANSFER__TENSORBOARD": False,
    "DATALOADER__NUM_WORKERS": 0,
}


def final(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "model_final.pth", weights_only=True)["model"]


@pytest.mark.parametrize(
    ("family", "backbone", "arrived", "new", "changes"),
    [
        ("vit", "vit_drawn_patch8", 12 * 4 + 3, 2 * 4, SHORT),
        ("resnet18", "resnet18", 20 * 5, 4, SHORT),
        ("timm", "timm:convnext_atto", MAPS_OF_ATTO, 0, OF_800_PIXELS),
    ],
)
def test_every_tensor_arrives_and_the_result_names_the_network(
    drawn, command, tmp_path, family, backbone, arrived, new, changes
):
    out, protocol = tmp_path / "out", CONVERTED[family][0]
    assert train.main(command(out, drawn(family), protocol=protocol, **changes)) == 0
    loaded = json.loads((out / "loaded.json").read_text())
    assert (len(set(loaded["arrived"].values())), len(loaded["extras"])) == (arrived, new)
    context = json.loads((out / "result.json").read_text())
    assert (context["backbone"], context["norm"]) == (backbone, "LN" if family == "vit" else "BN")
    assert not any(key.startswith(("MODEL.RESNETS", "TRANSFER.VIT")) for key in context["changed_from_protocol"])
    records = results.read(out / "result.json")
    assert {record.task for record in records} == {"bbox", "segm"}
    assert (records[0].method, records[0].epochs) == ("drawn", 3)
    assert (out / "predictions.png").stat().st_size > 1000
    before = weights.read(drawn(family))["model"]
    moved = [name for name, key in loaded["arrived"].items() if not np.array_equal(before[name], final(out)[key])]
    assert len(moved) > 0.9 * arrived, "nearly all learn"


def test_a_frozen_vit_keeps_every_weight_and_the_pyramid_learns(drawn, command, tmp_path):
    frozen = {"TRANSFER__FREEZE_BACKBONE_WEIGHTS": True, "SOLVER__MAX_ITER": 1}
    assert train.main(command(tmp_path / "out", drawn("vit"), protocol="demo-vitdet", **SHORT, **frozen)) == 0
    state = final(tmp_path / "out")
    for name, array in weights.read(drawn("vit"))["model"].items():
        assert torch.equal(state[name], torch.as_tensor(array)), name
    assert state["backbone.simfp_3.0.norm.bias"].abs().max() > 0
    assert not any(value.any() for key, value in state.items() if "rel_pos" in key)


class Killed(BaseException):
    """The end of a process, as far as its files are concerned."""


def test_a_vitdet_run_that_was_killed_ends_with_the_same_weights(drawn, command, tmp_path, monkeypatch):
    """Drop path and jitter are chance too, and AdamW has a state of its own."""
    settings = SHORT | {
        "SOLVER__MAX_ITER": 4,
        "SOLVER__CHECKPOINT_PERIOD": 2,
        "TRANSFER__VIT__DROP_PATH": 0.5,
        "TRANSFER__SCALE_JITTER": [0.5, 1.5],
    }
    words = {name: command(tmp_path / name, drawn("vit"), protocol="demo-vitdet", **settings) for name in "ab"}
    assert train.main(words["a"]) == 0
    save = Checkpointer.tag_last_checkpoint

    def save_and_die(self, name: str) -> None:
        save(self, name)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Checkpointer, "tag_last_checkpoint", save_and_die)
        train.main(words["b"])
    with pytest.raises(UserError, match="is the folder of another run: weights_sha256"):
        train.main([word if word != str(drawn("vit")) else "random" for word in words["b"]])
    assert train.main(words["b"]) == 0
    whole, resumed = (final(tmp_path / name) for name in "ab")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_weights_of_another_family_are_refused_before_training(drawn, command, tmp_path):
    with pytest.raises(UserError, match=r"is of a ViT .vit_drawn_patch8., protocol demo-fpn is for ResNets"):
        train.main(command(tmp_path / "out", drawn("vit"), protocol="demo-fpn"))
    assert not (tmp_path / "out").exists()
