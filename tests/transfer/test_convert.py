"""The converter loses nothing, invents nothing, and refuses what is no trained ImageNet ResNet-50."""

import json

import numpy as np
import pytest
import torch

from pretrain.checkpoints import checkpoint
from runtime.command_line import UserError
from transfer import convert
from transfer.backbones import frozen
from transfer.checkpoints import conversion, parity, weights
from transfer.detection import run_config, verify_weights

pytestmark = pytest.mark.slow


def test_both_formats_of_the_suite_give_the_same_265_tensors(tmp_path, backbone_pth, checkpoint_pth):
    convert.main([str(backbone_pth), str(tmp_path / "a" / "backbone.pkl")])
    convert.main([str(checkpoint_pth), str(tmp_path / "b" / "backbone.pkl")])
    a, b = (weights.read(tmp_path / part / "backbone.pkl")["model"] for part in "ab")
    assert len(a) == 265
    assert sum(name.endswith("norm.running_var") for name in a) == 53
    assert weights.digest(a) == weights.digest(b)


def test_a_torchvision_file_converts_without_its_classifier(tmp_path, trunk):
    torch.save({**trunk, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, tmp_path / "r50.pth")
    convert.main([*map(str, (tmp_path / "r50.pth", tmp_path / "r50.pkl")), "--method", "supervised", "--epochs", "90"])
    ledger = json.loads((tmp_path / "r50.pkl.conversion.json").read_text())
    assert ledger["tensors"]["fc.weight"] == {"dropped": "classifier"} and ledger["epochs"] == 90
    content = weights.read(tmp_path / "r50.pkl")
    assert len(content["model"]) == 265 and content[weights.ABOUT]["method"] == ledger["method"] == "supervised"
    with pytest.raises(UserError, match="with method supervised, not r50"):
        conversion.convert(tmp_path / "r50.pth", tmp_path / "r50.pkl")


def test_the_users_word_counts_for_more_than_the_files(tmp_path, backbone_pth, capsys):
    """A layout names no method for sure (DeepCluster-v2's was taken for SwAV's), nor colours and stride."""
    out = tmp_path / "b" / "backbone.pkl"
    said = ["--method", "byol", "--input", "order=BGR", "pixel_mean=103.53,116.28,123.675", "stride_in_1x1=true"]
    assert convert.main([str(backbone_pth), str(out), *said]) == 0
    assert "says method matrix_ssl; the command line says byol" in capsys.readouterr().err
    about = weights.read(out)[weights.ABOUT]
    assert (about["method"], about["recipe"]) == ("byol", "demo")
    assert about["input"] == {
        "order": "BGR",
        "pixel_mean": [103.53, 116.28, 123.675],
        "pixel_std": [58.395, 57.12, 57.375],
        "stride_in_1x1": True,
    }
    assert max(json.loads((out.parent / "conversion.json").read_text())["parity"].values()) < 1e-5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "order=GBR"], "--input takes order=RGB or BGR"),
        (["--input", "pixel_std=1,0,1"], "--input pixel_std takes three numbers.*above 0; got '1,0,1'"),
        (["--input", "pixel_mean=1,nan,1"], "--input pixel_mean takes three numbers"),
        (["--epochs", "-1"], "--epochs must be 0 or more"),
        (["--patch", "15"], "--patch must be a power of two, .* got 15"),
        (["--format", "moco"], "unknown format 'moco'; known: .*VICReg"),
    ],
)
def test_a_command_line_that_cannot_be_right_is_refused_before_any_file_is_read(words, message):
    with pytest.raises(UserError, match=message):
        convert.parse(["absent.pth", "backbone.pkl", *words])


def test_the_ledger_names_every_source_tensor_once_and_why_it_went(tmp_path, checkpoint_pth):
    ledger = conversion.convert(checkpoint_pth, tmp_path / "backbone.pkl")
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
    assert set(ledger["parity"]) == {f"{detector} {stage}" for detector in ("FPN", "C4") for stage in parity.STAGES}
    assert max(ledger["parity"].values()) < 1e-5


@pytest.mark.parametrize("name", ["res5.0.conv2.weight", "res2.0.shortcut.norm.running_mean", "stem.conv1.norm.bias"])
def test_parity_sees_one_changed_tensor_from_its_stage_on(trunk, converted, name):
    arrays = dict(weights.read(converted)["model"])
    arrays[name] = arrays[name] + 0.05
    differences = parity.stage_differences({k: v for k, v in trunk.items() if "tracked" not in k}, arrays)
    stage = name.split(".")[0]
    for detector in parity.DETECTORS:
        for before in parity.STAGES[: parity.STAGES.index(stage)]:
            assert differences[f"{detector} {before}"] < parity.TOLERANCE
        assert differences[f"{detector} {stage}"] > parity.TOLERANCE


def test_a_failed_parity_writes_nothing(tmp_path, backbone_pth, monkeypatch):
    monkeypatch.setattr(parity, "stage_differences", lambda *_, **__: {"stem": 0.0, "res2": 0.3})
    with pytest.raises(UserError, match="differ after conversion.*res2"):
        conversion.convert(backbone_pth, tmp_path / "backbone.pkl")
    assert not list(tmp_path.iterdir())


def _without(prefix):
    return lambda trunk: {name: value for name, value in trunk.items() if not name.startswith(prefix)}


def _with(**changes):
    return lambda trunk: trunk | {name.replace("__", "."): value for name, value in changes.items()}


def _untrained(trunk):
    return {name: torch.ones_like(value) if name.endswith("running_var") else value for name, value in trunk.items()}


def _doubled(trunk):
    """SimCLR's and SwAV's R50-w2: every width twice."""
    return {
        name: tensor.repeat(
            *[2 if size > 3 or i == 0 else 1 for i, size in enumerate(tensor.shape[:2])], *[1] * len(tensor.shape[2:])
        )
        if tensor.dim()
        else tensor
        for name, tensor in trunk.items()
    }


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_with(conv1__weight=torch.zeros(64, 3, 3, 3)), "CIFAR stem, conv1.weight .64, 3, 3, 3."),
        (_with(conv1__0__weight=torch.zeros(32, 3, 3, 3)), "deep stem"),
        (_with(conv1__weight=torch.zeros(64, 1, 7, 7)), r"conv1.weight is .64, 1, 7, 7., expected .64, 3, 7, 7."),
        (_without("layer3."), "lacks all of layer3"),
        (_without("conv1."), "lacks all of conv1"),
        (_without("layer2.1.bn2.running_mean"), "lacks 1 of 265 tensors, the first layer2.1.bn2.running_mean"),
        (_doubled, "ResNet-50 of width x2; .*conv1.weight is .128, 3, 7, 7."),
        (_with(attention__weight=torch.zeros(1)), "a ResNet-50 has not, the first attention.weight"),
        (_with(bn1__weight=torch.full((64,), float("nan"))), "NaN"),
        (
            _with(bn1__weight=torch.ones(64, dtype=torch.complex64)),
            "bn1.weight holds torch.complex64, expected floating",
        ),
        (_with(bn1__weight=torch.ones(64, dtype=torch.int8)), "bn1.weight holds torch.int8, expected floating point"),
        (_with(bn1__weight=torch.ones(64, device="meta")), "bn1.weight holds nothing .device meta., expected floating"),
        (_untrained, "untrained: all 53 .*--weights random"),
        (lambda trunk: {}, "no tensor of a ResNet"),
    ],
)
def test_what_is_no_trained_resnet50_is_refused_with_what_was_found(tmp_path, trunk, about, damage, message):
    content = {"format": "ssl-transfer-bench/backbone/1", "state_dict": damage(trunk), **about}
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=message) as caught:
        conversion.convert(tmp_path / "bad.pth", tmp_path / "bad.pkl")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bad.pkl").exists()


def test_an_unknown_format_is_refused_with_its_keys_and_the_known_ones(tmp_path):
    torch.save({"epoch": 3, "arch": "vit"}, tmp_path / "vit.pth")
    with pytest.raises(UserError, match="no tensors, its keys are arch, epoch; .*--formats lists those known"):
        conversion.convert(tmp_path / "vit.pth", tmp_path / "vit.pkl")


def test_converting_twice_is_free_and_another_source_is_refused(tmp_path, backbone_pth, checkpoint_pth):
    destination = tmp_path / "backbone.pkl"
    first = conversion.convert(backbone_pth, destination)
    written = destination.stat().st_mtime_ns
    assert conversion.convert(backbone_pth, destination) == first
    assert destination.stat().st_mtime_ns == written
    with pytest.raises(UserError, match="made from another file"):
        conversion.convert(checkpoint_pth, destination)


def test_conversions_of_one_folder_have_a_ledger_each(tmp_path, backbone_pth, checkpoint_pth):
    first = conversion.convert(checkpoint_pth, tmp_path / "backbone.pkl")
    second = conversion.convert(backbone_pth, tmp_path / "b.pkl")
    assert json.loads((tmp_path / "conversion.json").read_text()) == first
    assert json.loads((tmp_path / "b.pkl.conversion.json").read_text()) == second
    assert conversion.convert(checkpoint_pth, tmp_path / "backbone.pkl") == first


def test_a_source_is_not_overwritten_and_neither_is_another_conversion(tmp_path, backbone_pth, checkpoint_pth):
    conversion.convert(checkpoint_pth, tmp_path / "backbone.pkl")
    with pytest.raises(UserError, match="with take online, not teacher"):
        conversion.convert(checkpoint_pth, tmp_path / "backbone.pkl", encoder="teacher")
    with pytest.raises(UserError, match="is the source itself"):
        conversion.convert(backbone_pth, backbone_pth)
    with pytest.raises(UserError, match="must end in .pkl or .pth"):
        conversion.convert(backbone_pth, tmp_path / "backbone.safetensors")
    # Made before each output had a ledger of its own name.
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "r50.pkl").write_bytes(b"weights")
    (tmp_path / "old" / "conversion.json").write_text(json.dumps({"output": "r50.pkl", "source_sha256": "0"}))
    with pytest.raises(UserError, match="is the ledger of r50.pkl; choose another folder"):
        conversion.convert(backbone_pth, tmp_path / "old" / "backbone.pkl")


@pytest.mark.parametrize(
    ("blocking", "content", "message"),
    [
        (
            "conversion.json",
            {"name": "cells", "pixels": [3, 4]},
            "is no ledger of this converter.*choose another folder",
        ),
        ("conversion.json", [{"output": "backbone.pkl"}], "is no ledger of this converter"),
        ("conversion.json", None, "conversion.json is a folder, and a file of that name is to be written"),
        ("backbone.pkl", None, "backbone.pkl is a folder, and a file of that name is to be written"),
    ],
)
def test_what_stands_where_weights_and_ledger_go_is_found_before_anything_is_written(
    tmp_path, backbone_pth, monkeypatch, blocking, content, message
):
    monkeypatch.setattr(parity, "stage_differences", lambda *_, **__: {"FPN stem": 0.0})
    if content is None:
        (tmp_path / blocking).mkdir()
    else:
        (tmp_path / blocking).write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        conversion.convert(backbone_pth, tmp_path / "backbone.pkl")
    assert [path.name for path in tmp_path.iterdir()] == [blocking]
    assert content is None or json.loads((tmp_path / blocking).read_text()) == content


@pytest.mark.parametrize(
    ("words", "unread"),
    [
        (["--heads", "6", "--patch", "16"], "--heads, --patch"),
        (["--without-positions"], "--without-positions"),
        (["--backbone", "timm:resnet50", "--format", "this suite's backbone"], "--backbone"),
    ],
)
def test_an_option_that_a_resnet_does_not_read_is_refused(tmp_path, backbone_pth, capsys, words, unread):
    with pytest.raises(UserError, match=f"of the family ResNet, which does not read {unread}; leave it out"):
        convert.main([str(backbone_pth), str(tmp_path / "backbone.pkl"), *words])
    assert not list(tmp_path.iterdir())
    convert.main(["--inspect", str(backbone_pth), *words])
    assert f"which does not read {unread}" in capsys.readouterr().out.splitlines()[-1]


def _cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


LEDGERS = [
    b"",
    b"[]",
    b"{}",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"output": 3}',
    b'{"output": "", "source_sha256": "0"}',
    None,
]
INCOMPLETE = [{"parity": None}, {"parity": {}}, {"tensors": ["conv1.weight"]}]


def test_a_damaged_or_lost_ledger_is_written_again(tmp_path, backbone_pth, monkeypatch, capsys):
    monkeypatch.setattr(parity, "stage_differences", lambda *_, **__: {"FPN stem": 0.0})
    first = conversion.convert(backbone_pth, tmp_path / "backbone.pkl")
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for text in [*LEDGERS, *(json.dumps(first | changed).encode() for changed in INCOMPLETE)]:
        if text is None:
            (tmp_path / "conversion.json").unlink()
        else:
            (tmp_path / "conversion.json").write_bytes(text)
        assert conversion.convert(backbone_pth, tmp_path / "backbone.pkl") == first
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole
        assert ("conversion.json is damaged" in capsys.readouterr().err) == (text is not None)


def test_damaged_weights_are_not_called_complete_and_the_advice_works(tmp_path, backbone_pth, monkeypatch):
    monkeypatch.setattr(parity, "stage_differences", lambda *_, **__: {"FPN stem": 0.0})
    out, ledger = tmp_path / "backbone.pkl", tmp_path / "conversion.json"
    first = conversion.convert(backbone_pth, out)
    older = {key: value for key, value in first.items() if key != "output_file_sha256"}
    for content, damage in ((first, _cut), (first, _flip), (older, _cut)):
        ledger.write_text(json.dumps(content))
        assert conversion.convert(backbone_pth, out) == content
        damage(out)
        with pytest.raises(UserError, match="is damaged or was changed.*delete it and convert again"):
            conversion.convert(backbone_pth, out)
        out.unlink()
        assert conversion.convert(backbone_pth, out) == first


def test_weights_of_unknown_origin_are_not_overwritten(tmp_path, backbone_pth):
    (tmp_path / "backbone.pkl").write_bytes(b"somebody's weights")
    with pytest.raises(UserError, match="without a readable ledger.*delete it or choose another destination"):
        conversion.convert(backbone_pth, tmp_path / "backbone.pkl")
    assert (tmp_path / "backbone.pkl").read_bytes() == b"somebody's weights"


def test_the_teacher_is_taken_when_asked_for_and_the_ledger_says_so(tmp_path, trunk, about, capsys):
    model = {f"backbone.{name}": torch.zeros_like(tensor) for name, tensor in trunk.items()}
    model |= {f"teacher.backbone.{name}": tensor for name, tensor in trunk.items()}
    torch.save({"format": "ssl-transfer-bench/checkpoint/1", "model": model, **about}, tmp_path / "checkpoint.pth")
    convert.main([str(tmp_path / "checkpoint.pth"), str(tmp_path / "backbone.pkl"), "--encoder", "teacher"])
    assert "it also holds online (--encoder)" in capsys.readouterr().out
    array = weights.read(tmp_path / "backbone.pkl")["model"]["res4.3.conv2.weight"]
    assert np.array_equal(array, trunk["layer3.3.conv2.weight"].numpy())
    ledger = json.loads((tmp_path / "conversion.json").read_text())
    assert ledger["take"] == "teacher" and ledger["not_taken"] == ["online"]


def test_the_input_of_the_weights_reaches_the_detector(tmp_path, trunk):
    """SwAV divides red by .228; nothing in the tensors shows it."""
    heads = {"module.projection_head.0.weight": torch.zeros(2, 2), "module.prototypes.weight": torch.zeros(2, 2)}
    torch.save({**{f"module.{name}": tensor for name, tensor in trunk.items()}, **heads}, tmp_path / "swav.pth.tar")
    conversion.convert(tmp_path / "swav.pth.tar", tmp_path / "swav.pkl")
    about = weights.read(tmp_path / "swav.pkl")[weights.ABOUT]
    cfg = run_config.load("moco-fpn-1x")
    run_config.apply_input(cfg, about, {})
    assert cfg.MODEL.PIXEL_STD == [58.14, 57.12, 57.375] and cfg.INPUT.FORMAT == "RGB"
    assert cfg.MODEL.RESNETS.STRIDE_IN_1X1 is False
    contradicting = {"MODEL.PIXEL_STD": [58.395, 57.12, 57.375]}
    with pytest.raises(UserError, match="PIXEL_STD .*58.395.* contradicts the weights, .*58.14"):
        run_config.apply_input(run_config.load("moco-fpn-1x", contradicting), about, contradicting)


@pytest.fixture(scope="module")
def back(tmp_path_factory, converted):
    """The .pkl turned back into a .pth."""
    path = tmp_path_factory.mktemp("back") / "backbone.pth"
    conversion.convert(converted, path)
    return path


def test_to_detectron2_and_back_is_the_same_to_the_byte(tmp_path, trunk, converted, back):
    content = checkpoint.read_backbone(back)
    assert set(content["state_dict"]) == {name for name in trunk if "tracked" not in name}
    for name, tensor in content["state_dict"].items():
        assert tensor.dtype == trunk[name].dtype and tensor.numpy().tobytes() == trunk[name].numpy().tobytes()
    conversion.convert(back, tmp_path / "again.pkl")
    assert (tmp_path / "again.pkl").read_bytes() == converted.read_bytes()


def test_the_pth_is_a_backbone_that_the_probes_read(back, trunk):
    content = checkpoint.read_backbone(back)
    assert {key: content[key] for key in ("method", "recipe", "variant", "epochs", "seed")} == {
        "method": "matrix_ssl", "recipe": "demo", "variant": "", "epochs": 8, "seed": 3,
    }  # fmt: skip
    found = frozen.load(str(back))
    assert found.mean == (0.485, 0.456, 0.406) and found.std == (0.229, 0.224, 0.225) and found.stem == "imagenet"
    state = found.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in trunk.items() if "tracked" not in name)
    assert back.stat().st_size < 1.02 * sum(tensor.nbytes for tensor in trunk.values())  # two names, one copy


@pytest.mark.parametrize("name", ["moco-fpn-1x", "moco-c4-1x"])
def test_detectron2s_own_checkpointer_takes_both_files_as_they_are(converted, back, name):
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    cfg = run_config.load(name, {"MODEL.DEVICE": "cpu", "MODEL.RESNETS.NORM": "BN", "MODEL.FPN.NORM": "BN"})
    model, arrays = build_model(cfg), weights.read(converted)["model"]
    untouched = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for path in (converted, back):
        model.load_state_dict(untouched)
        with pytest.raises(UserError, match="they were not loaded"):
            verify_weights.verify(model.state_dict(), arrays)
        DetectionCheckpointer(model).load(str(path))
        assert len(set(verify_weights.verify(model.state_dict(), arrays).arrived.values())) == 265


def test_a_kept_checkpoint_does_not_pass_for_the_last_one(tmp_path, trunk, about):
    model = {f"backbone.{name}": value for name, value in trunk.items()}
    content = {"format": "ssl-transfer-bench/checkpoint/1", "model": model, **about}
    for name, variant in (("step-000064", "step=64"), ("checkpoint", "")):
        torch.save({**content, "variant": ""}, tmp_path / f"{name}.pth")
        ledger = conversion.convert(tmp_path / f"{name}.pth", tmp_path / name / "backbone.pkl")
        assert ledger["variant"] == weights.read(tmp_path / name / "backbone.pkl")[weights.ABOUT]["variant"] == variant


def test_a_conversion_killed_at_any_file_event_is_completed_by_the_same_command(
    tmp_path, backbone_pth, monkeypatch, kills
):
    monkeypatch.setattr(parity, "stage_differences", lambda *_, **__: {"FPN stem": 0.0})
    tried = kills.survives(lambda out: conversion.convert(backbone_pth, out / "backbone.pkl"), tmp_path, tries=4)
    assert tried >= 4


def test_a_checkpoint_of_the_suite_with_a_changed_byte_is_not_converted(tmp_path, trunk, about):
    path, seen = tmp_path / "backbone.pth", {"order": "RGB", "mean": [0.5] * 3, "std": [0.2] * 3}
    checkpoint.save(path, {"format": checkpoint.BACKBONE, "state_dict": trunk, "input": seen, **about})
    _flip(path)
    with pytest.raises(UserError, match="backbone.pth is damaged: its checksum"):
        conversion.convert(path, tmp_path / "out" / "backbone.pkl")
    assert not (tmp_path / "out").exists()
