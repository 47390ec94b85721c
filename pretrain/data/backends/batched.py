"""Views of a whole batch on the device that trains, each sample with its own parameters in its own order.

Workers decode, crop and resize (`opencv.crop`); colour, blur and flips are done here. Which samples take which
operation is known on the CPU, so nothing waits for the device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.data.backends.opencv import blur_kernel
from pretrain.data.view_parameters import Parameters

GRAY = (0.299, 0.587, 0.114)


class Operations(NamedTuple):
    """What is done to a batch of crops: which samples take each operation, and with which numbers."""

    samples: Tensor
    """(n,) int64: numbers of samples, one group after the other."""
    values: Tensor
    """(n,) float32: the factor, or the turn of the hue, of each; 0 where the operation has none."""
    kernels: Tensor
    """(b, k) float32: the taps of the blur of the samples that are blurred."""
    groups: tuple[tuple[str, int], ...]
    """Name and size of each group, in the order in which they are done."""

    def to(self, device: torch.device) -> "Operations":
        """The same with its tensors on ``device``."""
        moved = (tensor.to(device, non_blocking=True) for tensor in self[:3])
        return Operations(*moved, groups=self.groups)

    def pin_memory(self) -> "Operations":
        """The same in memory from which a GPU copies by itself."""
        return Operations(*(tensor.pin_memory() for tensor in self[:3]), groups=self.groups)


def operations(parameters: Sequence[Parameters]) -> Operations:
    """Group the samples of a batch by what is done to them."""
    groups: list[tuple[str, list[int], list[float]]] = []
    jittered = [k for k, p in enumerate(parameters) if p.jitter]
    for position in range(4):
        for number, name in enumerate(("brightness", "contrast", "saturation", "hue")):
            samples = [k for k in jittered if parameters[k].order[position] == number]
            groups.append((name, samples, [getattr(parameters[k], name) for k in samples]))
    for name, field in (("gray", "grayscale"), ("blur", "sigma"), ("solarize", "solarize"), ("flip", "flip")):
        samples = [k for k, p in enumerate(parameters) if getattr(p, field)]
        groups.append((name, samples, [0.0] * len(samples)))
    for turns in (1, 2, 3):
        samples = [k for k, p in enumerate(parameters) if p.turns == turns]
        groups.append((f"turn{turns}", samples, [0.0] * len(samples)))
    groups = [group for group in groups if group[1]]
    return Operations(
        samples=torch.tensor([k for _, samples, _ in groups for k in samples], dtype=torch.int64),
        values=torch.tensor([value for _, _, values in groups for value in values], dtype=torch.float32),
        kernels=_kernels([p.sigma for p in parameters if p.sigma]),
        groups=tuple((name, len(samples)) for name, samples, _ in groups),
    )


def _kernels(sigmas: Sequence[float]) -> Tensor:
    """(b, k): the taps of each, with zeros around the shorter ones."""
    kernels = [blur_kernel(sigma) for sigma in sigmas]
    width = max((len(kernel) for kernel in kernels), default=1)
    padded = [np.pad(kernel, (width - len(kernel)) // 2) for kernel in kernels]
    return torch.from_numpy(np.stack(padded)) if padded else torch.zeros(0, 1)


def apply(crops: Tensor, todo: Operations) -> Tensor:
    """Crops (B, 3, S, S) uint8 -> their views, uint8, on the same device. ``crops`` is overwritten."""
    sizes = [size for _, size in todo.groups]
    samples, values = todo.samples.split(sizes), todo.values.split(sizes)
    for (name, _), index, value in zip(todo.groups, samples, values, strict=True):
        x = crops.index_select(0, index)
        if name in COLOURS:
            x = COLOURS[name](x.float(), value.view(-1, 1, 1, 1)).to(torch.uint8)
        elif name == "blur":
            x = _blur(x.float(), todo.kernels).to(torch.uint8)
        elif name == "solarize":
            x = torch.where(x >= 128, 255 - x, x)
        else:
            x = x.flip(3) if name == "flip" else torch.rot90(x, int(name[-1]), (2, 3))
        crops.index_copy_(0, index, x)
    return crops


def _luma(x: Tensor) -> Tensor:
    """(B, 3, S, S) -> (B, 1, S, S): grey values, rounded as Pillow rounds them."""
    red, green, blue = x.split(1, dim=1)
    return (GRAY[0] * red + GRAY[1] * green + GRAY[2] * blue).round()


def _bytes(x: Tensor) -> Tensor:
    """Pillow keeps bytes between its operations, and cuts fractions off."""
    return x.clamp(0, 255).floor()


def _brightness(x: Tensor, factor: Tensor) -> Tensor:
    return _bytes(x * factor)


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    # The sum of whole numbers is exact in any order: the same mean in any batch.
    mean = (_luma(x).to(torch.int64).sum((2, 3), keepdim=True).float() / (x.shape[2] * x.shape[3]) + 0.5).floor()
    return _bytes(mean + factor * (x - mean))


def _saturation(x: Tensor, factor: Tensor) -> Tensor:
    gray = _luma(x)
    return _bytes(gray + factor * (x - gray))


def _hue(x: Tensor, turn: Tensor) -> Tensor:
    """A turn of the hue through the bytes of HSV that Pillow keeps; the way back has no case for each sector."""
    value, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = value - least
    red, green, blue = x.split(1, dim=1)
    divisor = torch.where(chroma > 0, chroma, 1.0)
    other = torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    hue = torch.where(value == red, (green - blue) / divisor, other) / 6
    saturation = (chroma / value.clamp(min=1) * 255).floor() / 255
    hue = ((hue + 1) % 1 * 255).floor() + (turn * 255).trunc()
    sector = (hue % 256 * 6 / 255 + (5 - 2 * torch.arange(3, device=x.device)).view(1, 3, 1, 1)) % 6
    return (value - value * saturation * torch.minimum(sector, 4 - sector).clamp(0, 1)).round()


def _gray(x: Tensor, _: Tensor) -> Tensor:
    return _luma(x).expand_as(x)


COLOURS = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue, "gray": _gray}


def _blur(x: Tensor, kernels: Tensor) -> Tensor:
    """Each sample by its own taps, as a sum of shifted copies: the same bits at any batch size."""
    half = kernels.shape[1] // 2
    for dim, pad in ((3, (half, half, 0, 0)), (2, (0, 0, half, half))):
        padded, side = F.pad(x, pad, mode="replicate"), x.shape[dim]
        x = torch.zeros_like(x)
        for k in range(kernels.shape[1]):
            x = torch.addcmul(x, kernels[:, k].view(-1, 1, 1, 1), padded.narrow(dim, k, side))
    return x.round().clamp(0, 255)
