"""The converter loses nothing, invents nothing, and refuses what is no trained ImageNet ResNet-50."""

import json

import numpy as np
import pytest
import torch

from pretrain.command_line import UserError
from transfer import convert, parity, weights


def test_both_formats_of_the_suite_give_the_same_265_tensors(tmp_path, backbone_pth, checkpoint_pth):
    convert.main([str(backbone_pth), str(tmp_path / "a" / "backbone.pkl")])
    convert.main([str(checkpoint_pth), str(tmp_path / "b" / "backbone.pkl")])
    a, b = (weights.read(tmp_path / part / "backbone.pkl")["model"] for part in "ab")
    assert len(a) == 265
    assert sum(name.endswith("norm.running_var") for name in a) == 53
    assert weights.digest(a) == weights.digest(b)


def test_a_torchvision_file_converts_without_its_classifier(tmp_path, trunk):
    torch.save({**trunk, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, tmp_path / "r50.pth")
    ledger = convert.convert(tmp_path / "r50.pth", tmp_path / "r50.pkl")
    assert ledger["tensors"]["fc.weight"] == {"dropped": "classifier"}
    assert len(weights.read(tmp_path / "r50.pkl")["model"]) == 265


def test_the_ledger_names_every_source_tensor_once_and_why_it_went(tmp_path, checkpoint_pth):
    ledger = convert.convert(checkpoint_pth, tmp_path / "backbone.pkl")
    source = torch.load(checkpoint_pth, weights_only=True)["model"]
    assert set(ledger["tensors"]) == set(source)
    kept = [entry["to"] for entry in ledger["tensors"].values() if "to" in entry]
    assert len(kept) == len(set(kept)) == 265
    dropped = {name: entry["dropped"] for name, entry in ledger["tensors"].items() if "dropped" in entry}
    assert dropped["teacher.backbone.conv1.weight"].startswith("teacher")
    assert dropped["projector.0.weight"].startswith("projector")
    assert "counter" in dropped["backbone.bn1.num_batches_tracked"]
    assert len(dropped) == len(source) - 265


def test_the_ledger_and_the_file_say_where_the_weights_come_from(converted, backbone_pth):
    ledger = json.loads((converted.parent / "conversion.json").read_text())
    about = weights.read(converted)[weights.ABOUT]
    for told in (ledger, about):
        assert (told["method"], told["recipe"], told["epochs"], told["seed"]) == ("matrix_ssl", "demo", 8, 3)
        assert told["input"] == {
            "order": "RGB",
            "pixel_mean": [123.675, 116.28, 103.53],
            "pixel_std": [58.395, 57.12, 57.375],
            "stride_in_1x1": False,
        }
    assert ledger["output_sha256"] == weights.digest(weights.read(converted)["model"])
    assert set(ledger["parity"]) == set(parity.STAGES)
    assert max(ledger["parity"].values()) < 1e-5


@pytest.mark.parametrize("name", ["res4.3.conv2.weight", "res2.0.shortcut.norm.running_mean", "stem.conv1.norm.bias"])
def test_parity_sees_one_changed_tensor_from_its_stage_on(trunk, converted, name):
    arrays = dict(weights.read(converted)["model"])
    arrays[name] = arrays[name] + 0.05
    differences = parity.stage_differences({k: v for k, v in trunk.items() if "tracked" not in k}, arrays)
    stage = name.split(".")[0]
    for before in parity.STAGES[: parity.STAGES.index(stage)]:
        assert differences[before] < parity.TOLERANCE
    assert differences[stage] > parity.TOLERANCE


def test_a_failed_parity_writes_nothing(tmp_path, backbone_pth, monkeypatch):
    monkeypatch.setattr(parity, "stage_differences", lambda *_: {"stem": 0.0, "res2": 0.3})
    with pytest.raises(UserError, match="differ after conversion.*res2"):
        convert.convert(backbone_pth, tmp_path / "backbone.pkl")
    assert not list(tmp_path.iterdir())


def _without(prefix):
    return lambda trunk: {name: value for name, value in trunk.items() if not name.startswith(prefix)}


def _with(**changes):
    return lambda trunk: trunk | {name.replace("__", "."): value for name, value in changes.items()}


def _other(depth):
    def state(trunk):
        import torchvision

        network = getattr(torchvision.models, depth)()
        return {name: value for name, value in network.state_dict().items() if not name.startswith("fc.")}

    return state


def _untrained(trunk):
    return {name: torch.ones_like(value) if name.endswith("running_var") else value for name, value in trunk.items()}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_with(conv1__weight=torch.zeros(64, 3, 3, 3)), "CIFAR stem"),
        (_without("layer3."), "lacks all of layer3"),
        (_without("layer2.1.bn2.running_mean"), "lacks 1 of 265 tensors, the first layer2.1.bn2.running_mean"),
        (_other("resnet18"), r"\[2, 2, 2, 2\] basic"),
        (_other("resnet101"), r"\[3, 4, 23, 3\] bottleneck"),
        (_other("wide_resnet50_2"), "layer1.0.conv1.weight is .128, 64, 1, 1., expected .64, 64, 1, 1."),
        (_with(attention__weight=torch.zeros(1)), "a ResNet-50 has not, the first attention.weight"),
        (_with(bn1__weight=torch.full((64,), float("nan"))), "NaN"),
        (_untrained, "untrained.*--weights random"),
        (lambda trunk: {}, "no tensor of a ResNet"),
    ],
)
def test_what_is_no_trained_resnet50_is_refused_with_what_was_found(tmp_path, trunk, about, damage, message):
    content = {"format": "ssl-transfer-bench/backbone/1", "state_dict": damage(trunk), **about}
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=message) as caught:
        convert.convert(tmp_path / "bad.pth", tmp_path / "bad.pkl")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bad.pkl").exists()


def test_an_unknown_format_is_refused_with_its_keys_and_the_known_ones(tmp_path):
    torch.save({"epoch": 3, "arch": "vit"}, tmp_path / "vit.pth")
    with pytest.raises(UserError, match="keys are arch, epoch; known formats: this suite's backbone"):
        convert.convert(tmp_path / "vit.pth", tmp_path / "vit.pkl")


def test_converting_twice_is_free_and_another_source_is_refused(tmp_path, backbone_pth, checkpoint_pth):
    destination = tmp_path / "backbone.pkl"
    first = convert.convert(backbone_pth, destination)
    written = destination.stat().st_mtime_ns
    assert convert.convert(backbone_pth, destination) == first
    assert destination.stat().st_mtime_ns == written
    with pytest.raises(UserError, match="made from another file"):
        convert.convert(checkpoint_pth, destination)


def test_detectron2s_own_checkpointer_takes_the_file_as_it_is(converted):
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    from transfer import protocol

    cfg = protocol.load("moco-fpn-1x", ["MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN"])
    model = build_model(cfg)
    DetectionCheckpointer(model).load(str(converted))
    state = model.state_dict()
    for name, array in weights.read(converted)["model"].items():
        assert np.array_equal(state[f"backbone.bottom_up.{name}"].numpy(), array), name
