"""A ViT's tensors: timm's names <-> Detectron2's, under ``backbone.net.`` as its simple feature pyramid names them.

Detectron2's ViT (arXiv 2203.16527) has no class token, no registers, no layer scale and no norm after the last block. A
layer scale is folded into the projection before it, which is exact; the others stay behind. Its attention is fed the
patches alone, so it computes what the source computes for its patches without the class token.
"""

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretrain.backbones import vit
from runtime.command_line import UserError
from transfer.checkpoints.families import VIT, Wishes
from transfer.checkpoints.renamed import Renamed, array, check_values, relative, with_weights

PREFIX = "backbone.net."

TOKENS = {
    "cls_token": "the class token: ViTDet's blocks are fed the patches alone",
    "dist_token": "the distillation token: ViTDet's blocks are fed the patches alone",
    "reg_token": "the register tokens: ViTDet's blocks are fed the patches alone",
}
NO_PLACE = "a norm after the last block, for which ViTDet has no place"
BLOCK = re.compile(r"blocks\.\d+\.(norm[12]\.(weight|bias)|attn\.(qkv|proj)\.(weight|bias)|mlp\.fc[12]\.(weight|bias))")
SCALE = re.compile(r"(blocks\.\d+)\.ls([12])\.gamma")
SCALED = {"1": "attn.proj", "2": "mlp.fc2"}
"""What a layer scale multiplies the output of."""

UNPLACED = [
    (r"\.mlp\.(w12|w3|w1|w2|fc1_g|fc1_x|gate_proj|norm)\b", "its MLPs are gated (SwiGLU), as DINOv2's giant's are"),
    (r"\.attn\.(q_norm|k_norm|norm)\b", "its attention normalises queries and keys"),
    (r"^norm_pre\.", "it has a norm before the first block, as CLIP's image towers have"),
    (r"^patch_embed\.(proj\.\d|stem|conv|backbone|proj\.conv)", "its patches come from several convolutions"),
]
"""(names, why) of what Detectron2's ViT cannot compute."""

POSITIONS = [
    (r"^rope", "rotary positions"),
    (r"relative_position_(bias_table|index)", "relative positions of each head"),
]
"""Positions that Detectron2's ViT cannot hold: its own relative positions are shared by the heads."""

RESAMPLING = (
    "kept at its {grid} x {grid} grid; for another, a detector resamples it in every forward pass (bicubic to the "
    "size, not antialiased: Detectron2's get_abs_pos), a probe with antialiasing (timm's resample_abs_pos_embed)"
)

NAMED = {size.width: name for name, size in vit.SIZES.items()}


def renamed(source: Path, tensors: dict[str, Tensor], wishes: Wishes, declared: dict) -> Renamed:
    """A ViT (timm's names, or with the parts that ``_Parts`` joins) under Detectron2's names.

    Args:
        declared: ``heads`` and how they are known (``heads_from``), ``layer_norm_eps``, as format and file tell them.

    Raises UserError for a network that is no plain ViT, or of which something that no tensor shows is not told.
    """
    masks = ("bias_mask", "relative_position_index")
    check_values(source, {name: tensor for name, tensor in tensors.items() if not name.endswith(masks)})
    parts = _Parts(source, tensors)
    _check_plain(source, parts, wishes)
    heads = _heads(source, parts.whole, wishes, declared)
    arrays, changes, added = {}, {}, {}
    positions, position_record, position_change = _positions(source, parts.whole)
    patch, patch_change = _patch(source, parts.whole["patch_embed.proj.weight"], wishes)
    for name, tensor in parts.whole.items():
        if BLOCK.fullmatch(name) or name == "patch_embed.proj.bias":
            folded = _folded(name, tensor, parts.whole)
            arrays[PREFIX + name] = array(folded)
            if folded is not tensor:
                changes[name] = {"changed": "multiplied by the layer scale that follows it"}
    arrays[f"{PREFIX}patch_embed.proj.weight"] = array(patch)
    changes["patch_embed.proj.weight"] = patch_change
    if positions is not None:
        arrays[f"{PREFIX}pos_embed"] = array(positions)
        changes["pos_embed"] = position_change
    for name in [f"blocks.{i}.attn.qkv.bias" for i in range(_depth(parts.whole))]:
        if name not in parts.whole:
            arrays[PREFIX + name] = array(torch.zeros(3 * patch.shape[0]))
            added[PREFIX + name] = "zeros: the source's attention has no bias"
    record = {
        "family": VIT,
        "name": _name(patch.shape[0], patch.shape[-1]),
        **heads,
        "width": patch.shape[0],
        "depth": _depth(parts.whole),
        "patch": patch.shape[-1],
        **position_record,
        "layer_norm_eps": declared.get("layer_norm_eps") or 1e-6,
    }
    fates = {name: _fate(name, parts, changes, arrays) for name in tensors}
    kept = "" if positions is None else RESAMPLING.format(grid=record["grid"])
    return Renamed(arrays, fates, parts.whole, record, added, kept)


class _Parts:
    """The tensors of a source joined to timm's: query, key and value to one projection, with their bias.

    A bias that no block has (BEiT's of the keys) is zeros in all of them. Raises UserError for parts that do not fit
    together.
    """

    def __init__(self, source: Path, tensors: dict[str, Tensor]):
        self.whole: dict[str, Tensor] = {}
        self.place: dict[str, str] = {}
        """The source's part -> the tensor that it is part of, where the two differ."""
        self.incomplete: dict[str, str] = {}
        """A tensor that is not in ``whole`` because one of its parts is missing -> that part."""
        self.source = source
        split = {name for name in tensors if re.search(r"\.attn\.([qkv]\.(weight|bias)|[qv]_bias|k_bias)$", name)}
        blocks: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name in split:
                block, _, part = name.partition(".attn.")
                blocks.setdefault(block, {})[part.replace("_bias", ".bias")] = tensor
                self.place[name] = f"{block}.attn.qkv.{'bias' if 'bias' in part else 'weight'}"
            elif name.endswith(".attn.qkv.bias_mask"):
                self.place[name] = name.removesuffix("_mask")
            elif match := re.fullmatch(r"(blocks\.\d+)\.gamma_([12])", name):
                self.place[name] = f"{match[1]}.ls{match[2]}.gamma"
                self.whole[self.place[name]] = tensor
            else:
                self.whole[name] = tensor
        known = {part for three in blocks.values() for part in three}
        for block, three in blocks.items():
            if any(part.endswith("weight") for part in known):
                self._join(f"{block}.attn", "weight", three, "qkv")
            self._join(f"{block}.attn", "bias", three, "".join(part for part in "qkv" if f"{part}.bias" in known))
        for name, mask in tensors.items():
            bias = self.whole.get(self.place.get(name, ""))
            if name.endswith(".attn.qkv.bias_mask") and bias is not None:
                self._check_one_shape(name, [mask, bias])
                self.whole[self.place[name]] = torch.where(mask == 1, bias, torch.zeros_like(bias))

    def _join(self, attention: str, kind: str, three: dict[str, Tensor], wanted: str) -> None:
        """Put the ``wanted`` ones of q, k and v together, zeros for the others."""
        name = f"{attention}.qkv.{kind}"
        if lacking := [part for part in wanted if f"{part}.{kind}" not in three]:
            self.incomplete[name] = f"{attention}.{lacking[0]}.{kind}"
        elif wanted:
            held = {part: three[f"{part}.{kind}"] for part in wanted}
            self._check_one_shape(f"{attention}.{wanted[0]}.{kind}", list(held.values()))
            zeros = torch.zeros_like(held[wanted[0]])
            self.whole[name] = torch.cat([held.get(part, zeros) for part in "qkv"])

    def _check_one_shape(self, name: str, tensors: list[Tensor]) -> None:
        shapes = [list(tensor.shape) for tensor in tensors]
        if any(shape != shapes[0] for shape in shapes) or not shapes[0]:
            raise UserError(
                f"{self.source}: {name} is {shapes[0]} and what belongs with it {shapes[1:]}; expected one shape"
            )


def _depth(whole: dict[str, Tensor]) -> int:
    return len({name.split(".")[1] for name in whole if name.startswith("blocks.")})


def _name(width: int, patch: int) -> str:
    return f"vit_{NAMED[width]}_patch{patch}" if width in NAMED else f"vit_width{width}_patch{patch}"


def _check_plain(source: Path, parts: _Parts, wishes: Wishes) -> None:
    """Raise UserError unless the tensors are a whole ViT that Detectron2's can compute."""
    whole = parts.whole
    for pattern, why in UNPLACED:
        if found := [name for name in whole if re.search(pattern, name)]:
            raise UserError(f"{source} is no plain ViT: {why} ({found[0]}), and Detectron2's ViT cannot compute that")
    held = [kind for pattern, kind in POSITIONS if any(re.search(pattern, name) for name in whole)]
    if "pos_embed" not in whole and not wishes.without_positions:
        kind = held[0] if held else "no table of positions"
        raise UserError(
            f"{source} has {kind}, which Detectron2's ViT cannot hold; --without-positions converts it without any, "
            f"and fine-tuning learns relative ones from nothing"
        )
    wanted = expected_shapes(source, whole, parts.incomplete)
    if missing := [parts.incomplete.get(name, name) for name in wanted if name not in whole]:
        raise UserError(f"{source} is no whole ViT: it lacks {len(missing)} of {len(wanted)} tensors, as {missing[0]}")
    if wrong := [name for name in wanted if tuple(whole[name].shape) != wanted[name]]:
        found = list(whole[wrong[0]].shape)
        raise UserError(
            f"{source}: {wrong[0]} is {found}, expected {list(wanted[wrong[0]])} for ViTDet (MLPs of 4 x width)"
        )
    if odd := [name for name in whole if name not in wanted and not _is_left(name) and name != "pos_embed"]:
        raise UserError(f"{source} has {len(odd)} tensors a ViT has not, the first {odd[0]}")
    for name in TOKENS.keys() & whole.keys():
        found, width = list(whole[name].shape), whole["patch_embed.proj.weight"].shape[0]
        if len(found) != 3 or found != [1, found[1] if name == "reg_token" else 1, width]:
            raise UserError(f"{source}: {name} is {found}, expected [1, tokens, {width}]")


def expected_shapes(
    source: Path, whole: dict[str, Tensor], incomplete: Mapping[str, str]
) -> dict[str, tuple[int, ...]]:
    """Name -> shape of what every block and the patches of a ViT of this depth and width have.

    The bias of attention and the layer scales belong to it where one block has them.
    """
    kernel = whole.get("patch_embed.proj.weight")
    if kernel is None or kernel.dim() != 4 or kernel.shape[2] != kernel.shape[3] or kernel.shape[1] != 3:
        found = "none" if kernel is None else str(list(kernel.shape))
        raise UserError(f"{source} has no projection of square RGB patches (patch_embed.proj.weight: {found})")
    width = kernel.shape[0]
    shapes = {"patch_embed.proj.weight": tuple(kernel.shape), "patch_embed.proj.bias": (width,)}
    has_bias = any(name.endswith(".attn.qkv.bias") for name in (*whole, *incomplete))
    has_scale = any(map(SCALE.fullmatch, whole))
    for i in range(_depth(whole)):
        for part, out, into in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            shapes[f"blocks.{i}.{part}.weight"] = (out * width, into * width)
            if part != "attn.qkv" or has_bias:
                shapes[f"blocks.{i}.{part}.bias"] = (out * width,)
        shapes |= {f"blocks.{i}.norm{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")}
        shapes |= {f"blocks.{i}.ls{n}.gamma": (width,) for n in (1, 2) if has_scale}
    return shapes


def _is_left(name: str) -> bool:
    held = any(re.search(pattern, name) for pattern, _ in POSITIONS)
    return held or name in TOKENS or re.match(r"(fc_)?norm\.", name) is not None


def _heads(source: Path, whole: dict[str, Tensor], wishes: Wishes, declared: dict) -> dict:
    width = whole["patch_embed.proj.weight"].shape[0]
    heads, known = (wishes.heads, "--heads") if wishes.heads else (declared.get("heads"), declared.get("heads_from"))
    if not heads:
        raise UserError(
            f"{source}: no tensor shows how many attention heads a ViT of width {width} has, and neither does this "
            f"format{' (DINO and DeiT 6, MoCo v3 12)' if width == 384 else ''}; say it with --heads N"
        )
    if width % heads:
        raise UserError(
            f"{source}: {heads} heads ({known}) cannot share a width of {width}; say the number with --heads N"
        )
    return {"heads": heads, "heads_from": known}


def _positions(source: Path, whole: dict[str, Tensor]) -> tuple[Tensor | None, dict, dict]:
    """The position table that Detectron2 reads (a square grid, behind at most one place for a class token)."""
    if "pos_embed" not in whole:
        return None, {"grid": 0, "class_token": False}, {}
    table = whole["pos_embed"]
    prefix = token_places(source, whole)
    grid = math.isqrt(table.shape[1] - prefix)
    keeps = prefix > 0 and "cls_token" in whole
    record = {"grid": grid, "class_token": keeps}
    if prefix == int(keeps):
        return table, record, {}
    kept = table[:, prefix:] if not keeps else torch.cat([table[:, :1], table[:, prefix:]], dim=1)
    why = f"the places of {prefix - keeps} other tokens left out: {table.shape[1]} -> {kept.shape[1]} positions"
    return kept, record, {"changed": why}


def token_places(source: Path, whole: dict[str, Tensor]) -> int:
    """How many positions of the table stand before the square grid of patches; UserError if there is no such grid."""
    table = whole["pos_embed"]
    if table.dim() != 3 or table.shape[0] != 1 or table.shape[2] != whole["patch_embed.proj.weight"].shape[0]:
        raise UserError(f"{source}: pos_embed is {list(table.shape)}, expected [1, positions, width]")
    tokens = [whole[name].shape[1] if name == "reg_token" else 1 for name in TOKENS if name in whole]
    possible = sorted({0, *(sum(tokens[: i + 1]) for i in range(len(tokens))), *tokens})
    square = [n for n in possible if table.shape[1] > n and math.isqrt(table.shape[1] - n) ** 2 == table.shape[1] - n]
    if len(square) != 1:
        raise UserError(
            f"{source}: the position table has {table.shape[1]} places, which are "
            f"{'no' if not square else 'more than one'} square grid besides {' or '.join(map(str, possible))} tokens; "
            f"Detectron2's ViT takes square grids only"
        )
    return square[0]


def _patch(source: Path, kernel: Tensor, wishes: Wishes) -> tuple[Tensor, dict]:
    """The kernel of the patch projection, resampled if that is asked for."""
    size = kernel.shape[-1]
    if not wishes.patch or wishes.patch == size:
        if size & (size - 1):
            raise UserError(
                f"{source} has patches of {size} pixels; ViTDet's pyramid needs a power of two: --patch 16 resamples "
                f"the kernel (pseudo-inverse of the bicubic resize, FlexiViT)"
            )
        return kernel, {}
    from timm.layers.patch_embed import resample_patch_embed

    new = resample_patch_embed(kernel.float(), [wishes.patch] * 2, interpolation="bicubic", antialias=False)
    how = "pseudo-inverse of the bicubic resize (FlexiViT, arXiv 2212.08013; timm's resample_patch_embed)"
    return new, {"resampled": {"from": [size, size], "to": [wishes.patch] * 2, "method": how}}


def _folded(name: str, tensor: Tensor, whole: dict[str, Tensor]) -> Tensor:
    """A projection with the layer scale that follows it multiplied in."""
    block, _, part = name.partition(".attn.") if ".attn." in name else name.partition(".mlp.")
    number = {"proj": "1", "fc2": "2"}.get(part.split(".")[0])
    gamma = whole.get(f"{block}.ls{number}.gamma") if number and name.startswith("blocks.") else None
    if gamma is None:
        return tensor
    return tensor.float() * gamma.float().reshape(-1, *[1] * (tensor.dim() - 1))


def _fate(name: str, parts: _Parts, changes: dict[str, dict], arrays: dict) -> dict:
    whole = parts.place.get(name, name)
    if match := SCALE.fullmatch(whole):
        to = f"{PREFIX}{match[1]}.{SCALED[match[2]]}"
        return {"to": f"{to}.weight", "changed": f"folded: {to}.weight and .bias are multiplied by it"}
    if PREFIX + whole in arrays:
        joined = {"changed": "part of it, in the order query, key, value"} if whole != name else {}
        return {"to": PREFIX + whole, **joined, **changes.get(whole, {})}
    for pattern, kind in POSITIONS:
        if re.search(pattern, whole):
            return {"dropped": f"{kind}: Detectron2's ViT cannot hold them; left out with --without-positions"}
    return {"dropped": TOKENS.get(whole, NO_PLACE)}


@torch.inference_mode()
def differences(renamed: Renamed, source: Path, input: Mapping) -> dict[str, float]:
    """How far timm's blocks around the source's tensors and Detectron2's are apart, from the tokens to the last block.

    Both are fed the same tokens, in float32: the patches of one fixed image at the grid of the position table, then
    through the blocks a corner of them, without class token, windows or relative positions.
    """
    del input
    grid = renamed.record["grid"] or 6
    kernel = torch.from_numpy(renamed.arrays[f"{PREFIX}patch_embed.proj.weight"])
    image = torch.rand(1, 3, *[grid * kernel.shape[-1]] * 2, generator=torch.Generator().manual_seed(0))
    ours, blocks = _timm_vit(renamed, kernel)
    theirs: Any = _detectron2_vit(renamed)
    tokens = ours(image)
    if "pos_embed" in renamed.state:
        tokens = tokens + renamed.state["pos_embed"].float()[:, token_places(source, renamed.state) :]
    from detectron2.modeling.backbone.utils import get_abs_pos

    others = theirs.patch_embed(image)
    if theirs.pos_embed is not None:
        others = others + get_abs_pos(theirs.pos_embed, renamed.record["class_token"], (grid, grid))
    found = {"tokens": relative(tokens, others.flatten(1, 2))}
    side = min(grid, 6)
    a = tokens.reshape(1, grid, grid, -1)[:, :side, :side].flatten(1, 2)
    b = others[:, :side, :side]
    for i, (block, other) in enumerate(zip(blocks, theirs.blocks, strict=True), start=1):
        a, b = block(a), other(b)
        found[f"block {i}"] = relative(a, b.flatten(1, 2))
    return found


def _timm_vit(renamed: Renamed, kernel: Tensor):
    """timm's patch projection and blocks around the tensors as the source has them, its layer scale unfolded."""
    from timm.models.vision_transformer import VisionTransformer

    record, state = renamed.record, renamed.state
    with torch.device("meta"):
        network = VisionTransformer(
            img_size=record["patch"] * (record["grid"] or 6),
            patch_size=record["patch"],
            embed_dim=record["width"],
            depth=record["depth"],
            num_heads=record["heads"],
            init_values=1.0 if "blocks.0.ls1.gamma" in state else None,
            class_token=False,
            global_pool="avg",
            num_classes=0,
            pos_embed="none",
            fc_norm=False,
            final_norm=False,
            norm_layer=partial(torch.nn.LayerNorm, eps=record["layer_norm_eps"]),
        )
    kept = {name: tensor.float() for name, tensor in state.items() if name.startswith(("blocks.", "patch_embed."))}
    kept = {name: tensor for name, tensor in kept.items() if not any(re.search(p, name) for p, _ in POSITIONS)}
    biases = {name.removeprefix(PREFIX): torch.from_numpy(renamed.arrays[name]) for name in renamed.added}
    with_weights(network, {**kept, "patch_embed.proj.weight": kernel, **biases})
    return network.patch_embed, network.blocks


def _detectron2_vit(renamed: Renamed):
    from detectron2.modeling import ViT
    from detectron2.modeling.backbone.vit import Block

    import transfer.detection.vit  # noqa: F401  (makes timm's names known to Detectron2's blocks)

    record = renamed.record
    norm: Any = partial(torch.nn.LayerNorm, eps=1e-6)
    with torch.device("meta"):
        network = ViT(  # its constructor reads a drop path rate of each block, which has no value on the meta device
            img_size=record["patch"] * (record["grid"] or 6),
            patch_size=record["patch"],
            embed_dim=record["width"],
            depth=0,
            num_heads=record["heads"],
            norm_layer=norm,
            use_abs_pos=record["grid"] > 0,
            pretrain_img_size=record["patch"] * record["grid"],
            pretrain_use_cls_token=record["class_token"],
        )
        network.blocks.extend(Block(record["width"], record["heads"], norm_layer=norm) for _ in range(record["depth"]))
    arrays = {name.removeprefix(PREFIX): torch.from_numpy(array) for name, array in renamed.arrays.items()}
    return with_weights(network, arrays)
