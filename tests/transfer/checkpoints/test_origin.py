"""What a file, or the configuration beside it, says of its weights is of the right kind or refused in one line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from runtime.command_line import UserError
from transfer.checkpoints import inspection, weights
from transfer.checkpoints.conversion import convert

CONFIG = {"num_attention_heads": 3, "hidden_size": 192, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
NETWORK = {"name": "vit_tiny_patch8", "heads": 3}


@pytest.fixture(scope="module")
def vit() -> dict[str, torch.Tensor]:
    from timm.models.vision_transformer import VisionTransformer

    network = VisionTransformer(img_size=16, patch_size=8, embed_dim=192, depth=1, num_heads=3, num_classes=0)
    return {name: value + 0.01 for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("num_attention_heads", value) for value in ("12x", -3, 0, 2.5, [3], {}, True, 10**30, float("nan"))),
        *(("layer_norm_eps", value) for value in ("x", -1, [1], {}, float("inf"))),
        *(("image_mean", value) for value in ("abc", [1], [0.5] * 2, ["a"] * 3, {"r": 1}, 5, [[0.5] * 3] * 3)),
        *(("image_mean", value) for value in ([float("nan")] * 3, [None] * 3)),
        *(("image_std", value) for value in ("x", 0, [0] * 3, [-1] * 3, [float("inf")] * 3)),
        *(("architecture", value) for value in (5, ["vit"], "x" * 5000)),
        *(("hidden_size", value) for value in ("192", [192], 384)),
    ],
)
def test_a_config_of_wrong_types_is_one_line(vit, tmp_path, key, value):
    save_file(vit, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, key: value}))
    with pytest.raises(UserError, match=key) as error:
        convert(tmp_path / "model.safetensors", tmp_path / "out.pth")
    assert len(str(error.value)) < 400 and not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("text", ["[]", "", "{", "null", '"vit"', "1e999", "[" * 5000])
def test_a_config_that_is_none_is_one_line(vit, tmp_path, text):
    save_file(vit, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="config.json"):
        convert(tmp_path / "model.safetensors", tmp_path / "out.pth")


def suite(vit, **changed) -> dict:
    scale = {"order": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3}
    content = {"format": "ssl-transfer-bench/backbone/1", "method": "mec", "config": {"backbone": NETWORK}}
    return {**content, "input": scale, "state_dict": vit, **changed}


HOSTILE = {
    "method": (5, None, ["x"]),
    "recipe": (5,),
    "variant": (5, "x" * 5000),
    "epochs": ("x", -5, None, 2.5, True, 10**400),
    "seed": ("x", None),
    "commit": (5,),
    "input": (5, "x", {"order": 5}, {"order": "RGB"}, {"order": "XYZ", "mean": [0.5] * 3, "std": [0.5] * 3})
    + tuple({"order": "RGB", "mean": mean, "std": [0.5] * 3} for mean in ("abc", [0.5], [None] * 3))
    + ({"order": "RGB", "mean": [0.5] * 3, "std": [0] * 3},)
    + ({"order": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3, "stride_in_1x1": "no"},),
    "config": tuple({"backbone": {**NETWORK, "heads": heads}} for heads in ("three", -3, [1], None, True)),
    weights.ABOUT: (5, None, "x", [], {"input": 5}, {"input": {"order": "RGB"}}, {"backbone": 5}, {"method": 5})
    + ({"backbone": {**NETWORK, "layer_norm_eps": "y"}}, {"backbone": {**NETWORK, "grid": "x"}}),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in HOSTILE.items() for value in values])
def test_an_edited_file_is_named_before_it_costs_a_training(vit, tmp_path, key, value):
    torch.save(suite(vit, **{key: value}), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth.*(expected|belong|is missing).*was the file edited") as error:
        convert(tmp_path / "w.pth", tmp_path / "out.pth")
    assert len(error.value.faults) == 1


def test_foreign_epochs_that_cannot_be_are_not_told(vit, tmp_path):
    """Other programs write what they like under these names; the command line says it then."""
    for number, epoch in enumerate(("x", -7, True, 10**30)):
        torch.save({"state_dict": vit, "epoch": epoch, "arch": "vit_tiny_patch16_224"}, tmp_path / f"{number}.pth")
        assert convert(tmp_path / f"{number}.pth", tmp_path / f"{number}-out.pth")["epochs"] == 0


def test_names_with_escape_sequences_do_not_reach_the_terminal(vit, tmp_path):
    path: Path = tmp_path / 'w\x1b[31m"$(x)\n.pth'
    torch.save({"state_dict": vit, "\x1b]0;x\x07": 1}, path)
    text = inspection.report(path)
    assert "\\x1b[31m" in text and all(line.isprintable() for line in text.split("\n"))
