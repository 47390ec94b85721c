"""The network that a detector stands on: what the protocol says of it, what the weights say, and what cannot be.

A protocol is for one family: ResNets, ViTs, or the networks of timm that have feature maps. Which of the family is
decided by the weights, as far as their tensors and their record show it (depth, width, patch, heads), and by the
protocol's own settings where there are none. No Detectron2 or torch here: whoever submits a job checks its settings
without waiting for them.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pretrain.backbones import resnet, vit
from runtime.command_line import Faults, UserError, one_of
from transfer.checkpoints.families import RESNET, TIMM, VIT

FAMILIES = {
    "build_resnet_backbone": RESNET,
    "build_resnet_fpn_backbone": RESNET,
    "build_vit_pyramid_backbone": VIT,
    "build_timm_fpn_backbone": TIMM,
}
"""MODEL.BACKBONE.NAME -> whose weights the backbone takes."""

FITTING = {RESNET: "moco-c4-1x or moco-fpn-1x", VIT: "vitdet-b-100ep", TIMM: "timm-fpn-1x"}
"""A protocol of each family, for messages."""

IN_VIT, IN_TIMM = "backbone.net.", "backbone.bottom_up.network."
"""Where the tensors of these families stand, in the model and in a converted file. A ResNet's have no prefix there."""

NAMED = "TRANSFER.BACKBONE"
"""The setting that names the network of a row from scratch."""

RECORD = "backbone"
"""What a converted file says of its network: a mapping of ``name``, and of ``heads`` for a ViT."""

DEPTHS: dict[tuple[bool, tuple[int, ...]], int] = {kind: depth for kind, depth in resnet.DEPTHS.items() if depth <= 152}
"""Whether the blocks are bottlenecks, and how many stand in res2 to res5 -> MODEL.RESNETS.DEPTH of Detectron2."""

SCALES = (4, 2, 1, 0.5)
"""By which Detectron2's simple feature pyramid can scale a feature map."""


RESNETS = {
    name: {"DEPTH": kind.depth, "NUM_GROUPS": kind.groups, "WIDTH_PER_GROUP": kind.width}
    for name, kind in resnet.ARCHITECTURES.items()
}
"""torchvision's names -> MODEL.RESNETS; basic blocks have 64 channels in res2."""

VITS = {name: {"WIDTH": size.width, "DEPTH": size.depth, "HEADS": size.heads} for name, size in vit.SIZES.items()}
"""Sizes of a ViT; its name is vit_<size>_patch<pixels>."""


def named(name: str) -> tuple[str, dict[str, Any]]:
    """The family of a network called by its name, and the settings that build it. UserError for an unknown name."""
    if name.startswith("timm:"):
        return TIMM, {"TRANSFER.TIMM.NAME": name.removeprefix("timm:")}
    if (match := re.fullmatch(r"vit_(\w+)_patch(\d{1,2})", name)) and match[1] in VITS:
        return VIT, {f"TRANSFER.VIT.{key}": value for key, value in VITS[match[1]].items()} | {
            "TRANSFER.VIT.PATCH": int(match[2])
        }
    one_of("backbone", name, [*RESNETS, *(f"vit_{size}_patch16" for size in VITS), "timm:convnext_tiny"])
    values = dict(RESNETS[name])
    values["RES2_OUT_CHANNELS"] = 64 if values["DEPTH"] < 50 else 256
    return RESNET, {f"MODEL.RESNETS.{key}": value for key, value in values.items()}


def expanded(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``overrides`` with what TRANSFER.BACKBONE stands for, where it is among them; other settings have the last word.

    Raises UserError for an unknown name.
    """
    name = overrides.get(NAMED)
    return {**(named(name)[1] if name else {}), **overrides}


class Network(NamedTuple):
    """What weights say of the network that they are of."""

    family: str
    name: str
    settings: dict[str, Any]
    """The protocol's settings that they decide: dotted key -> value."""


def family(settings: Mapping[str, Any]) -> str:
    """The family of a protocol by its MODEL.BACKBONE.NAME; another builder of Detectron2 is taken for a ResNet's."""
    return FAMILIES.get(settings["MODEL.BACKBONE.NAME"], RESNET)


def name(settings: Mapping[str, Any]) -> str:
    """The network of a protocol's settings by its name, or in words: ``resnet50 of 2 x 96 channels``."""
    kind = family(settings)
    if kind == VIT:
        width, depth, patch = (settings[f"TRANSFER.VIT.{key}"] for key in ("WIDTH", "DEPTH", "PATCH"))
        size = next((name for name, size in vit.SIZES.items() if size[:2] == (width, depth)), None)
        return f"vit_{size}_patch{patch}" if size else f"ViT of width {width}, {depth} blocks, patch {patch}"
    if kind == TIMM:
        return f"timm:{settings['TRANSFER.TIMM.NAME']}"
    depth, groups, width = (settings[f"MODEL.RESNETS.{key}"] for key in ("DEPTH", "NUM_GROUPS", "WIDTH_PER_GROUP"))
    wanted = {"DEPTH": depth, "NUM_GROUPS": groups, "WIDTH_PER_GROUP": width}
    wide = settings["MODEL.RESNETS.STEM_OUT_CHANNELS"] != 64
    found = next((name for name, values in RESNETS.items() if values == wanted and not wide), None)
    return found or f"resnet{depth} of {groups} x {width} channels"


def of_weights(shapes: Mapping[str, tuple[int, ...]], about: Mapping[str, Any], path: object) -> Network | None:
    """The network of a weight file; None where its tensors are of no family.

    Args:
        shapes: name in the file -> shape.
        about: what the file says of itself; empty of a file that others made.
        path: of the file, for messages.

    Raises UserError for a network that Detectron2 cannot build.
    """
    record = about.get(RECORD)
    record = record if isinstance(record, Mapping) else {}
    if any(key.startswith(IN_VIT) for key in shapes):
        kind, found = VIT, _vit({key.removeprefix(IN_VIT): shape for key, shape in shapes.items()}, record, path)
    elif any(key.startswith(IN_TIMM) for key in shapes):
        found = {"TRANSFER.TIMM.NAME": str(record.get("name", "")).removeprefix("timm:")}
        if not found["TRANSFER.TIMM.NAME"]:
            raise UserError(f"{path} does not say which network of timm it is of; convert it with transfer/convert.py")
        return Network(TIMM, f"timm:{found['TRANSFER.TIMM.NAME']}", found)
    elif "stem.conv1.weight" in shapes:
        kind, found = RESNET, _resnet(shapes, path)
    else:
        return None
    builder = next(builder for builder, family in FAMILIES.items() if family == kind)
    return Network(kind, str(record.get("name") or name({"MODEL.BACKBONE.NAME": builder, **found})), found)


def _resnet(shapes: Mapping[str, tuple[int, ...]], path: object) -> dict[str, Any]:
    blocks = [
        len({key.split(".")[1] for key in shapes if re.match(rf"res{stage}\.\d+\.", key)}) for stage in (2, 3, 4, 5)
    ]
    bottleneck = "res2.0.conv3.weight" in shapes
    first, last = shapes.get("res2.0.conv1.weight"), shapes.get(f"res2.0.conv{3 if bottleneck else 2}.weight")
    depth = DEPTHS.get((bottleneck, (blocks[0], blocks[1], blocks[2], blocks[3])))
    if depth is None or not first or not last:
        kind = "bottleneck" if bottleneck else "basic"
        raise UserError(
            f"{path} holds a ResNet of {blocks} {kind} blocks in its stages, which Detectron2 cannot build; it knows "
            f"ResNet-{', '.join(map(str, sorted(DEPTHS.values())))}"
        )
    middle = shapes.get("res2.0.conv2.weight", (64, 64))
    groups = middle[0] // middle[1] if bottleneck else 1
    return {
        "MODEL.RESNETS.DEPTH": depth,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": shapes["stem.conv1.weight"][0],
        "MODEL.RESNETS.RES2_OUT_CHANNELS": last[0],
        "MODEL.RESNETS.NUM_GROUPS": groups,
        "MODEL.RESNETS.WIDTH_PER_GROUP": first[0] // groups if bottleneck else 64,
    }


def _vit(shapes: Mapping[str, tuple[int, ...]], record: Mapping[str, Any], path: object) -> dict[str, Any]:
    patches = shapes.get("patch_embed.proj.weight")
    if not patches or len(patches) != 4 or patches[2] != patches[3]:
        raise UserError(f"{path} is of a ViT without square patches; convert it with transfer/convert.py")
    found: dict[str, Any] = {
        "TRANSFER.VIT.WIDTH": patches[0],
        "TRANSFER.VIT.PATCH": patches[2],
        "TRANSFER.VIT.DEPTH": len({key.split(".")[1] for key in shapes if key.startswith("blocks.")}),
        "TRANSFER.VIT.GRID": 0,
    }
    if positions := shapes.get("pos_embed"):
        has_token = math.isqrt(positions[1]) ** 2 != positions[1]
        grid = math.isqrt(positions[1] - has_token)
        if grid * grid + has_token != positions[1]:
            raise UserError(f"{path} holds {positions[1]} positions, which are no square grid with or without a token")
        found |= {"TRANSFER.VIT.GRID": grid, "TRANSFER.VIT.CLASS_TOKEN": has_token}
    if heads := record.get("heads"):
        found["TRANSFER.VIT.HEADS"] = heads
    return found


def refuse_another_family(settings: Mapping[str, Any], weights: Network, *, protocol: str, path: object) -> None:
    """Raise UserError where a protocol is for another family than the ``weights``', naming both."""
    if (expected := family(settings)) != weights.family:
        raise UserError(
            f"{path} is of {_of(weights)}, protocol {protocol} is for {_plural(expected)}; choose a protocol for "
            f"{_plural(weights.family)} such as {FITTING[weights.family]}"
        )


def _of(network: Network) -> str:
    known = network.name.startswith(network.family)
    return f"a {network.name}" if known else f"a {network.family} ({network.name})"


def _plural(kind: str) -> str:
    return "networks of timm" if kind == TIMM else f"{kind}s"


def levels(names: list[str]) -> list[int]:
    """``[p2, p3]`` -> ``[2, 3]``, the logarithms of the strides. Raises UserError for another kind of name."""
    if odd := [name for name in names if not re.fullmatch(r"p\d", name)]:
        raise UserError(f"levels of a pyramid are called p2, p3 and so on, got {odd[0]!r}")
    return [int(name[1:]) for name in names]


def scales(patch: int, names: list[str]) -> list[float]:
    """By what the feature map of a ViT's patches is scaled for each level (``p2``, ...) that the heads read."""
    return [patch / 2**level for level in levels(names)]


def check(settings: Mapping[str, Any]) -> None:
    """Raise UserError for each thing in ``settings`` (dotted key -> value) of which no detector can be built."""
    kind, faults = family(settings), Faults()
    if (wanted := settings[NAMED]) and (found := named(wanted)[0]) != kind:
        raise UserError(
            f"{NAMED} {wanted} is of {_plural(found)}, the protocol is for {_plural(kind)}; choose one "
            f"such as {FITTING[found]}"
        )
    checks = {RESNET: _check_resnet, VIT: _check_vit, TIMM: _check_timm}
    with faults.collected():
        checks[kind](settings)
    with faults.collected():
        _check_sizes(settings, padded=kind != RESNET)
    layered = kind == VIT or (kind == TIMM and settings["TRANSFER.TIMM.NAME"].startswith("convnext"))
    if settings["TRANSFER.LAYER_DECAY"] != 1 and not layered:
        faults.append(f"TRANSFER.LAYER_DECAY is for ViTs and ConvNeXts, the network is {name(settings)}; leave it at 1")
    if settings["TRANSFER.DETR_CROP"] and settings["TRANSFER.SCALE_JITTER"]:
        faults.append("TRANSFER.DETR_CROP and TRANSFER.SCALE_JITTER are two ways to crop; leave one of them out")
    faults.check()


def _check_resnet(settings: Mapping[str, Any]) -> None:
    depth, width = settings["MODEL.RESNETS.DEPTH"], settings["MODEL.RESNETS.RES2_OUT_CHANNELS"]
    if depth not in DEPTHS.values():
        raise UserError(f"MODEL.RESNETS.DEPTH must be one of {', '.join(map(str, DEPTHS.values()))}, got {depth}")
    if depth < 50 and width != 64:
        raise UserError(
            f"ResNet-{depth} has basic blocks of 64 channels in res2; add MODEL.RESNETS.RES2_OUT_CHANNELS=64"
        )


def _check_timm(settings: Mapping[str, Any]) -> None:
    if not settings["TRANSFER.TIMM.NAME"]:
        raise UserError("which network of timm? Set TRANSFER.TIMM.NAME, such as convnext_tiny")


def _check_vit(settings: Mapping[str, Any]) -> None:
    vit = {key.rpartition(".")[2]: value for key, value in settings.items() if key.startswith("TRANSFER.VIT.")}
    patch, faults = vit["PATCH"], Faults()
    if vit["WIDTH"] % vit["HEADS"]:
        faults.append(
            f"a ViT's width is shared evenly by its heads; got TRANSFER.VIT {vit['WIDTH']} and {vit['HEADS']}"
        )
    if vit["WINDOW"] and vit["DEPTH"] % vit["GLOBAL_BLOCKS"]:
        faults.append(f"TRANSFER.VIT.GLOBAL_BLOCKS {vit['GLOBAL_BLOCKS']} must divide the {vit['DEPTH']} blocks")
    steps = levels(settings["MODEL.ROI_HEADS.IN_FEATURES"])
    if not steps or steps != list(range(steps[0], steps[0] + len(steps))):
        faults.append(f"MODEL.ROI_HEADS.IN_FEATURES must be levels in a row such as p2, p3, p4, got p{steps}")
    elif any(scale not in SCALES for scale in scales(patch, settings["MODEL.ROI_HEADS.IN_FEATURES"])):
        possible = [size for size in (4, 8, 16, 32) if all(size / 2**step in SCALES for step in steps)]
        faults.append(
            f"patches of {patch} pixels: this protocol's pyramid, p{steps[0]} to p{steps[-1]}, is for patches of "
            f"{' or '.join(map(str, possible)) or 'no size'} pixels"
        )
    if settings["TRANSFER.SQUARE"] == 0 or settings["TRANSFER.SQUARE"] % patch:
        faults.append(
            f"TRANSFER.SQUARE, the side of a ViT's images, must be a multiple of its patch of {patch} pixels, "
            f"got {settings['TRANSFER.SQUARE']}"
        )
    faults.check()


def _check_sizes(settings: Mapping[str, Any], *, padded: bool) -> None:
    square, jitter = settings["TRANSFER.SQUARE"], list(settings["TRANSFER.SCALE_JITTER"])
    if square and not padded:
        raise UserError("TRANSFER.SQUARE is for ViTs and networks of timm; leave it at 0")
    if jitter and (len(jitter) != 2 or jitter[0] > jitter[1] or not square):
        raise UserError(f"TRANSFER.SCALE_JITTER is [least, most] of TRANSFER.SQUARE {square}, got {jitter}")
    sizes = ["INPUT.MAX_SIZE_TEST", *([] if jitter else ["INPUT.MAX_SIZE_TRAIN"])]
    if square and (beyond := [key for key in sizes if not 0 < settings[key] <= square]):
        raise UserError(f"{beyond[0]} {settings[beyond[0]]} must lie within TRANSFER.SQUARE {square}")
