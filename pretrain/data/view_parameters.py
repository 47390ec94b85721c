"""The randomness of a view as a few numbers, drawn from (seed, epoch, index, view) by a counter-based generator.

Three backends give these numbers the same meaning (`pretrain.data.backends`), so a view is the same picture, up to
rounding, whichever of them makes it, on any rank, in any worker and after any number of restarts.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pretrain.data.view_recipes import View

UNIFORMS = 40
CROP_TRIES = 10
RATIO = (3 / 4, 4 / 3)
"""Width over height of a crop; tries and range are torchvision's RandomResizedCrop."""


class Parameters(NamedTuple):
    """What is done to an image, in this order. Real numbers are rounded to float32, so that all backends agree."""

    top: int
    left: int
    height: int
    width: int
    """The crop, pixels of the image; it is resized to the view's size."""

    jitter: bool
    """Whether the four operations below are done at all."""
    brightness: float
    contrast: float
    saturation: float
    """Factors: 1 changes nothing."""
    hue: float
    """Turn of the hue, share of the circle."""
    order: tuple[int, int, int, int]
    """The order of the four: 0 brightness, 1 contrast, 2 saturation, 3 hue."""

    grayscale: bool
    sigma: float
    """Standard deviation of the Gaussian blur, pixels of the view; 0: no blur."""
    solarize: bool
    """Whether values from 128 on are inverted."""
    flip: bool
    """Whether left and right change places."""
    turns: int
    """Quarter turns, counter-clockwise."""


def draw(view: "View", key: tuple[int, int, int, int], *, width: int, height: int) -> Parameters:
    """The parameters of one view of an image of ``width`` x ``height`` pixels.

    Args:
        key: (seed, epoch, index of the image, number of the view), each 0 or more.
    """
    seed, epoch, index, number = key
    bits = np.random.Philox(key=[seed, epoch], counter=[0, index, number, 0]).random_raw(UNIFORMS)
    u = ((bits >> np.uint64(11)) * 2.0**-53).tolist()
    brightness, contrast, saturation, hue = view.jitter
    low, high = view.blur_sigma
    return Parameters(
        *_crop(u, view.scale, width, height),
        jitter=u[22] < view.jitter_p,
        brightness=_factor(brightness, u[23]),
        contrast=_factor(contrast, u[24]),
        saturation=_factor(saturation, u[25]),
        hue=_float32(hue * (2 * u[26] - 1)),
        order=tuple(sorted(range(4), key=lambda operation: u[27 + operation])),  # pyright: ignore[reportArgumentType]
        grayscale=u[31] < view.grayscale_p,
        sigma=_float32(low + (high - low) * u[33]) if u[32] < view.blur_p else 0.0,
        solarize=u[34] < view.solarize_p,
        flip=u[35] < view.flip_p,
        turns=int(4 * u[36]) if view.quarter_turns else 0,
    )


def _crop(u: list[float], scale: tuple[float, float], width: int, height: int) -> tuple[int, int, int, int]:
    """Top, left, height, width: up to ten tries of a random area and shape, else the largest one in the middle."""
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for k in range(CROP_TRIES):
        area = width * height * (scale[0] + (scale[1] - scale[0]) * u[2 * k])
        ratio = math.exp(low + (high - low) * u[2 * k + 1])
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(u[20] * (height - h + 1)), int(u[21] * (width - w + 1)), h, w
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def _factor(change: float, u: float) -> float:
    """A factor from 1 - change, but not below 0, to 1 + change, as torchvision's ColorJitter has it."""
    low = max(0.0, 1 - change)
    return _float32(low + (1 + change - low) * u)


def _float32(value: float) -> float:
    return float(np.float32(value))
