"""Vision transformers (arXiv 2010.11929) by timm: a class token first, learnt or fixed positions, no head."""

import math
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime.command_line import UserError, shortened

if TYPE_CHECKING:
    from torch import Tensor

    from pretrain.config import BackboneConfig
    from pretrain.networks.backbone import Backbone

TITLE = "ViT"
SIGN = re.compile(r"^blocks\.\d+\.(norm1|attn)\.")
WHOLE = re.compile(r"blocks\.0\.attn\.qkv\.weight$")
REFERENCE = "timm"
FEATURES = ("class-token", "patches", "class-token+patches", "last-4-class-tokens")
LAYERS = {"stem": r"^(?:cls_token|reg_token|pos_embed|patch_embed|norm_pre)", "blocks": r"^blocks\.(\d+)\."}
"""As MAE's util/lr_decay.py: the last norm goes with the classifier, where timm counts it to the last block."""


class Size(NamedTuple):
    """Width, blocks and attention heads."""

    width: int
    depth: int
    heads: int


SIZES = {
    "mini": Size(96, 4, 3),
    "tiny": Size(192, 12, 3),
    "small": Size(384, 12, 6),
    "base": Size(768, 12, 12),
    "large": Size(1024, 24, 16),
    "huge": Size(1280, 32, 16),
}
"""Tiny and small as DeiT has them (arXiv 2012.12877), the larger ones as ViT; mini is this suite's, for CPUs."""

PATCHES = (8, 14, 16)
NAMES = tuple(f"vit_{size}_patch{patch}" for size in SIZES for patch in PATCHES)


def knows(name: str) -> bool:
    """Whether this module builds the backbone of a name."""
    return re.fullmatch(r"vit_\w+_patch\d+", name) is not None


def parts(name: str) -> tuple[Size, int]:
    """Size and patch of a network by its name. Raises UserError for a size that has no name."""
    size, _, patch = name.removeprefix("vit_").partition("_patch")
    if size not in SIZES:
        raise UserError(f"unknown size {size!r} of a ViT; known: {', '.join(SIZES)}")
    return SIZES[size], int(patch)


def fault(settings: "BackboneConfig", sides: tuple[int, ...]) -> str | None:
    """A patch must fit into the images a whole number of times."""
    if settings.name not in NAMES:
        return f"the named ViTs are vit_SIZE_patchN with SIZE {', '.join(SIZES)} and N {', '.join(map(str, PATCHES))}"
    patch = parts(settings.name)[1]
    if odd := [side for side in sides if side % patch]:
        near = max(patch, round(odd[0] / patch) * patch)
        return f"images of {odd[0]} pixels are no multiple of its patch of {patch}; {near} would be"
    if settings.changed("stem"):
        return f"a ViT has no stem; leave out backbone.stem={settings.stem}"
    return None


def build(settings: "BackboneConfig", *, side: int) -> "Backbone":
    """A fresh ViT for images of ``side`` pixels, other sides by resampled positions; features: its class token.

    The settings' ``positions``, ``registers``, ``layer_scale``, ``drop_path`` and ``fixed_patch_projection`` are read.
    """
    size, patch = parts(settings.name)
    network: Any = _vit(
        size,
        patch,
        grid=side // patch,
        reg_tokens=settings.registers,
        init_values=settings.layer_scale or None,
        drop_path_rate=settings.drop_path,
    )
    if settings.positions == "sincos":
        _fix_positions(network, size.width, side // patch)
    if settings.fixed_patch_projection:
        for parameter in network.patch_embed.parameters():
            parameter.requires_grad_(False)
    return network


def _vit(size: Size, patch: int, *, grid: int, **options: Any) -> Any:
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    network: Any = VisionTransformer(
        img_size=grid * patch,
        patch_size=patch,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.heads,
        num_classes=0,
        dynamic_img_size=True,
        **{"norm_layer": partial(nn.LayerNorm, eps=1e-6), **options},
    )
    network.width = size.width
    return network


def sincos_positions(width: int, grid: int) -> "Tensor":
    """Sines and cosines of columns, then of rows, (grid * grid, width) for a width that 4 divides: fixed positions of
    patches (MoCo v3, arXiv 2104.02057; MAE)."""
    import torch

    places = torch.arange(grid, dtype=torch.float64)
    angles = places[:, None] / 10_000 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    along = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.cat([along.repeat(grid, 1), along.repeat_interleave(grid, 0)], dim=1).float()


def _fix_positions(network: Any, width: int, grid: int) -> None:
    """Fixed positions in place of learnt ones; none for class token and registers."""
    import torch

    with torch.no_grad():
        network.pos_embed.zero_()
        network.pos_embed[0, -grid * grid :] = sincos_positions(width, grid)
    network.pos_embed.requires_grad_(False)


def rebuilt(state: Mapping[str, "Tensor"], told: Mapping[str, Any], seen: Mapping[str, Any]) -> "Backbone":
    """The ViT that the tensors (timm's names) are of, with what no tensor shows as ``told``: ``name`` or ``heads``.

    Raises UserError where they are of no ViT with a table of positions.
    """
    import torch
    from torch import nn

    del seen
    state = dict(state)
    if missing := [name for name in ("patch_embed.proj.weight", "pos_embed", "cls_token") if name not in state]:
        raise UserError(f"its ViT lacks {missing[0]}, which the probes' network needs")
    kernel, places = state["patch_embed.proj.weight"], state["pos_embed"]
    if "dist_token" in state:
        state["reg_token"] = state.pop("dist_token")
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    # All tokens have places, or the class token alone (DINOv2), or none.
    prefix = next((n for n in (1 + registers, 1, 0) if _grid(places.shape[1] - n)), None)
    if prefix is None:
        raise UserError(f"its {places.shape[1]} positions are no square grid of patches")
    if prefix == 1 and registers:
        state["cls_token"] = state["cls_token"].float() + places[:, :1].float()
        state["pos_embed"], prefix = places[:, 1:], 0
    heads = told.get("heads") or parts(str(told["name"]))[0].heads
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    options = {
        "reg_tokens": registers,
        "no_embed_class": prefix == 0,
        "init_values": 1.0 if "blocks.0.ls1.gamma" in state else None,
        "drop_path_rate": told.get("drop_path", 0.0),
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "norm_layer": partial(nn.LayerNorm, eps=told.get("layer_norm_eps") or 1e-6),
        "fc_norm": "norm.weight" not in state,
    }
    if "norm.weight" in state:
        state = {name: value for name, value in state.items() if not name.startswith("fc_norm.")}
    with torch.device("meta"):
        grid = _grid(state["pos_embed"].shape[1] - prefix)
        network = _vit(Size(kernel.shape[0], depth, int(heads)), kernel.shape[-1], grid=grid, **options)
    try:
        network.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    except RuntimeError as error:
        raise UserError(f"it is not a plain ViT: {shortened(' '.join(str(error).split()), 200)}") from error
    return network.eval()


def _grid(places: int) -> int:
    """The side of a square grid with so many places; 0 if there is none."""
    side = math.isqrt(max(places, 0))
    return side if side * side == places else 0
