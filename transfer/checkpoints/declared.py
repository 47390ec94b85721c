"""What a file, or the configuration that its authors put beside it, tells of a network besides its tensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pretrain.backbones import vit
from runtime.command_line import UserError
from runtime.read import read_json
from transfer.checkpoints import weights
from transfer.checkpoints.families import TIMM, VIT
from transfer.checkpoints.format_spec import Format, at
from transfer.checkpoints.origin import EPSILON, HEADS, MEAN, OF_NETWORK, STD, TEXT, check

BESIDE = ("config.json", "preprocessor_config.json")
"""What Hugging Face's and timm's ``save_pretrained`` write next to the weights."""

OF_CONFIG = {
    **dict.fromkeys(("image_mean", "mean"), MEAN),
    **dict.fromkeys(("image_std", "std"), STD),
    "num_attention_heads": HEADS,
    "layer_norm_eps": EPSILON,
    "architecture": TEXT,
}
REMEDY = "correct it, or move it away and say what is needed"


def declared_of(entry: Format, tensors: Mapping[str, Tensor], content: dict, source: Path) -> dict[str, Any]:
    """``heads``, how they are known (``heads_from``), ``layer_norm_eps``, ``name``, ``input``, where they are declared.

    Args:
        tensors: the trunk's, by its family's names.

    What the file itself says counts for more than what lies beside it, and that for more than what all files of the
    format have in common.
    """
    if entry.family not in (VIT, TIMM):
        return {}
    inside = _inside(content, source)
    kernel = tensors.get("patch_embed.proj.weight")
    width = max(kernel.shape[-1], kernel.shape[0]) if kernel is not None and kernel.ndim == 4 else 0
    beside = _beside(source, width)
    declared = {**beside, **{key: value for key, value in inside.items() if value}}
    if entry.family == TIMM:
        return declared
    shown = entry.heads_of(tensors)
    for heads, known in (
        (inside.get("heads"), inside.get("heads_from") or "the file"),
        (shown, "the shape of a tensor"),
        (beside.get("heads"), "config.json beside it"),
        (_heads_of(str(inside.get("name") or "")), f"the {inside.get('name', '')} that the file names"),
        (entry.heads.get(width), f"the format {entry.name}"),
    ):
        if heads:
            return {**declared, "heads": heads, "heads_from": known}
    return declared


DECLARED = ("heads", "heads_from", "layer_norm_eps", "name")


def _inside(content: dict, source: Path) -> dict[str, Any]:
    """What the file's own record, configuration or arguments say."""
    record = at(content, f"{weights.ABOUT}/backbone") or at(content, "config/backbone") or {}
    declared = {key: value for key, value in record.items() if key in DECLARED} if isinstance(record, Mapping) else {}
    declared = check(declared, OF_NETWORK, source)
    arch = content.get("arch")
    declared |= {"name": arch} if isinstance(arch, str) and "heads_from" not in declared else {}
    return {**declared, "name": declared.get("name", "").removeprefix("timm:")}


def _heads_of(name: str) -> int | None:
    """The heads of a ViT of this suite or of timm."""
    import timm
    import torch

    if name in vit.NAMES:
        return vit.parts(name)[0].heads
    if not name.startswith(("vit_", "deit")) or not timm.is_model(name):
        return None
    with torch.device("meta"):
        network: Any = timm.create_model(name, pretrained=False)
    return network.blocks[0].attn.num_heads


def _beside(source: Path, width: int) -> dict[str, Any]:
    """What the json files beside the weights say, where they are of a network of this width."""
    found: dict[str, Any] = {}
    for name in BESIDE:
        if source.suffix in (".safetensors", ".bin") and (path := source.with_name(name)).is_file():
            declared = {key: value for key, value in check(read_json(path), {}, path).items() if value is not None}
            found |= check(declared, OF_CONFIG, path, remedy=REMEDY)
    if found.get("hidden_size", width) != width and width:
        raise UserError(
            f"{source.with_name(BESIDE[0])} is of another network: hidden_size {found['hidden_size']}, "
            f"{width} in {source.name}"
        )
    declared: dict[str, Any] = {
        "heads": found.get("num_attention_heads"),
        "layer_norm_eps": found.get("layer_norm_eps"),
    }
    scale = found if "image_mean" in found else check(found.get("pretrained_cfg", {}), OF_CONFIG, BESIDE[0])
    mean, std = scale.get("image_mean", scale.get("mean")), scale.get("image_std", scale.get("std"))
    if mean and std:
        declared["input"] = {
            "order": "RGB",
            "pixel_mean": [round(255 * float(value), 4) for value in mean],
            "pixel_std": [round(255 * float(value), 4) for value in std],
            "stride_in_1x1": False,
        }
    if "architecture" in found:
        declared["name"] = found["architecture"]
    return {key: value for key, value in declared.items() if value}
