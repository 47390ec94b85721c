"""The tensors of any network of timm with feature maps: its classifier's names -> those of its ``features_only`` form.

timm writes a child of a numbered list with an underscore there (``stages.0`` is ``stages_0``). In a detector they stand
under ``backbone.bottom_up.network.``, in the thin backbone of ``transfer/detection/timm_fpn.py``.
"""

from collections.abc import Mapping, Set
from pathlib import Path

import torch
from torch import Tensor

from runtime.command_line import UserError, shortened
from transfer.checkpoints.families import TIMM, Wishes
from transfer.checkpoints.renamed import Renamed, array, check_values, relative, with_weights

PREFIX = "backbone.bottom_up.network."
COUNTER = "num_batches_tracked"

CANDIDATES = [
    *(f"convnext_{size}" for size in ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "xlarge")),
    *(f"convnextv2_{size}" for size in ("atto", "femto", "pico", "nano", "tiny", "base", "large", "huge")),
    *(f"swin_{size}_patch4_window7_224" for size in ("tiny", "small", "base", "large")),
    *(f"swin_{size}_patch4_window12_384" for size in ("base", "large")),
]
"""Networks whose tensors tell all of them: one is known by its names and shapes alone."""


def renamed(source: Path, tensors: dict[str, Tensor], wishes: Wishes, declared: dict) -> Renamed:
    """A network of timm (its own names) under the names of its feature maps.

    Args:
        declared: ``name``, as the file tells it.

    Raises UserError if nothing says which network it is, if timm has none of that name with feature maps, and if its
    tensors are not that network's: one is missing, one is of another shape, or one has no place in it.
    """
    name = wishes.backbone.removeprefix("timm:") or declared.get("name") or _named_by_shapes(source, tensors)
    features = _features(name)
    names = _places(features.state_dict(), tensors)
    wanted = {new: value for new, value in features.state_dict().items() if not new.endswith(COUNTER)}
    if missing := [new for new in wanted if new not in names.values()]:
        raise UserError(
            f"{source} is no timm:{name}: it lacks {len(missing)} of {len(wanted)} tensors, as {missing[0]}"
        )
    if odd := _without_place(name, tensors.keys() - names.keys()):
        raise UserError(f"{source} is no timm:{name}: it has {len(odd)} tensors which that has not, as {odd[0]}")
    wrong = [old for old, new in names.items() if new in wanted and tensors[old].shape != wanted[new].shape]
    if wrong:
        expected = list(wanted[names[wrong[0]]].shape)
        found = list(tensors[wrong[0]].shape)
        raise UserError(f"{source} is no timm:{name}: {wrong[0]} is {found}, expected {expected}")
    held = {old: tensors[old] for old, new in names.items() if new in wanted}
    check_values(source, {old: tensor for old, tensor in held.items() if wanted[names[old]].is_floating_point()})
    arrays = {PREFIX + names[old]: array(tensor) for old, tensor in held.items()}
    fates = {old: {"to": PREFIX + names[old]} if old in held else {"dropped": _why(old)} for old in tensors}
    return Renamed(arrays, fates, tensors, {"family": TIMM, "name": f"timm:{name}"})


def _why(name: str) -> str:
    return (
        "BatchNorm's step counter, which inference never reads"
        if name.endswith(COUNTER)
        else "no part of a feature map"
    )


def _places(features: dict[str, Tensor], tensors: dict[str, Tensor]) -> dict[str, str]:
    """The network's name -> that of its feature maps, which differ in dots and underscores only."""
    plain = {_plain(new): new for new in features}
    return {old: plain[_plain(old)] for old in tensors if _plain(old) in plain}


def _plain(name: str) -> str:
    return name.removeprefix("model.").replace("_", ".")


def _without_place(name: str, others: Set[str]) -> list[str]:
    """Which of ``others``, tensors that no feature map needs, the whole network with its classifier has not either."""
    from pretrain.backbones.timm import any_size

    with torch.device("meta"):
        known = {_plain(one) for one in any_size(name).state_dict()} if others else set()
    return sorted(other for other in others if _plain(other) not in known)


def _features(name: str) -> torch.nn.Module:
    """The network that a detector has, without values."""
    from transfer.detection.timm_fpn import created

    with torch.device("meta"):
        return created(name)


def _named_by_shapes(source: Path, tensors: dict[str, Tensor]) -> str:
    """The candidate whose tensors are all there; of several the largest, for a small network may be the start of it."""
    shapes = {_plain(name): tuple(tensor.shape) for name, tensor in tensors.items()}
    fitting = {}
    for name in CANDIDATES:
        first = name.split("_")[0]
        sign = {"convnext": "conv.dw", "convnextv2": "grn", "swin": "relative.position.bias.table"}[first]
        if not any(sign in key for key in shapes):
            continue
        wanted = {_plain(key): tuple(value.shape) for key, value in _features(name).state_dict().items()}
        if wanted.items() <= shapes.items():
            fitting[name] = len(wanted)
    if not fitting:
        raise UserError(f"{source} does not say which network of timm it is of; say it with --backbone timm:NAME")
    return max(fitting, key=fitting.__getitem__)


@torch.inference_mode()
def differences(renamed: Renamed, source: Path, input: Mapping) -> dict[str, float]:
    """How far the source's tensors in timm's whole network and the converted ones in a detector's backbone are apart.

    At every feature map, on one fixed image, in float32. Raises UserError for a network without intermediate maps.
    """
    from pretrain.backbones.timm import any_size
    from transfer.detection.timm_fpn import channels_first, created

    del input
    name = renamed.record["name"].removeprefix("timm:")
    whole, features = any_size(name, num_classes=0), created(name)
    if not hasattr(whole, "forward_intermediates"):
        raise UserError(f"{source}: timm:{name} does not give out what is between its layers, so nothing can be proven")
    own = {old: tensor.float() for old, tensor in renamed.state.items() if old in whole.state_dict()}
    whole.load_state_dict(own, strict=False, assign=True)
    given = {key.removeprefix(PREFIX): torch.from_numpy(values) for key, values in renamed.arrays.items()}
    try:
        theirs = channels_first(features, with_weights(features, given)(_image()))
        ours = whole.eval().forward_intermediates(_image(), intermediates_only=True)  # pyright: ignore[reportCallIssue]
    except (AssertionError, RuntimeError, ValueError) as error:
        why = shortened(" ".join(str(error).split()), 120)
        raise UserError(
            f"{source}: timm:{name} does not take images of any size, as a detector does ({why})"
        ) from error
    by_shape = {tuple(one.shape): one for one in ours}
    absent = torch.ones(1)
    return {
        f"stride {_image().shape[2] // one.shape[2]}": relative(by_shape.get(tuple(one.shape), absent), one)
        for one in theirs
    }


def _image() -> Tensor:
    return torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
