"""A network under Detectron2's names, and how two networks are compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from runtime.command_line import UserError


@dataclass(frozen=True)
class Renamed:
    """A network under Detectron2's names."""

    arrays: dict[str, np.ndarray]
    """Detectron2's name -> values."""
    fates: dict[str, dict]
    """The family's name -> what became of the tensor: ``to`` Detectron2's name, or ``dropped`` and why."""
    state: dict[str, Tensor]
    """The whole network under the family's names, for the probes."""
    record: dict = field(default_factory=dict)
    """What the file says of the network, as far as its tensors do not show it; empty for a ResNet-50."""
    added: dict[str, str] = field(default_factory=dict)
    """Detectron2's name -> why it is there although the source has no such tensor."""
    positions: str = ""
    """How a table of positions is brought to another grid by whoever reads the file."""


NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_values(source: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise UserError unless all ``tensors`` are there, floating point (``NUMBERS``) and finite."""
    if odd := [name for name, tensor in tensors.items() if tensor.is_meta or tensor.dtype not in NUMBERS]:
        kind = "nothing (device meta)" if tensors[odd[0]].is_meta else str(tensors[odd[0]].dtype)
        raise UserError(
            f"{source}: {odd[0]} holds {kind}, expected floating point of 16 bits or more; so do {len(odd)} of "
            f"{len(tensors)} tensors"
        )
    # A sum is not finite where a value is not, and takes a fortieth of the time; one of large values may overflow.
    bad = [name for name, tensor in tensors.items() if not (tensor.sum().isfinite() or tensor.isfinite().all())]
    if bad:
        raise UserError(f"{source}: {len(bad)} tensors hold NaN or infinity, the first {bad[0]}; training diverged")


def array(tensor: Tensor) -> np.ndarray:
    """The values as float32 and contiguous, in the tensor's shape, not copied where they are so already."""
    return tensor.detach().float().cpu().contiguous().numpy()


def relative(a: Tensor, b: Tensor) -> float:
    """The largest difference relative to the largest value of ``a``; infinity where agreement would prove nothing."""
    scale = a.abs().max()
    if a.shape != b.shape or not scale.isfinite() or scale == 0:
        return float("inf")
    return ((a - b).abs().max() / scale).nan_to_num(float("inf")).item()


def with_weights(network: torch.nn.Module, tensors: Mapping) -> torch.nn.Module:
    """``network``, built on the meta device, in inference mode around ``tensors``, which are not copied."""
    given = {name: torch.as_tensor(value) for name, value in tensors.items()}
    result = network.load_state_dict(given, strict=False, assign=True)
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    assert not missing and not result.unexpected_keys, (missing, result.unexpected_keys)
    return network.eval()
