"""Views on a CPU core by torch's antialiased resize of bytes and OpenCV's colour operations."""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from pretrain.data.view_parameters import Parameters

cv2.setNumThreads(0)  # a loader process has one core; OpenCV would start a thread for each core of the machine

GRAY = np.array([0.299, 0.587, 0.114], np.float32)
TRUNCATE = np.float32(-0.499)
"""OpenCV rounds where Pillow cuts the fraction off; without this a view is one grey value brighter."""


def crop(pixels: np.ndarray, p: Parameters, *, size: int, interpolation: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8 -> the resized crop (size, size, 3), by Pillow's own filter."""
    return _resized(pixels[p.top : p.top + p.height, p.left : p.left + p.width], (size, size), interpolation)


def centre(pixels: np.ndarray, *, size: int, resize: int, interpolation: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8 -> the centre (size, size, 3) of the image whose short side is brought to ``resize``.

    Sides and place are rounded as torchvision's Resize and CenterCrop do. ``size`` is at most ``resize``.
    """
    short = min(pixels.shape[:2])
    height, width = (resize * side // short for side in pixels.shape[:2])
    top, left = round((height - size) / 2), round((width - size) / 2)
    whole = _resized(pixels, (height, width), interpolation)
    return np.ascontiguousarray(whole[top : top + size, left : left + size])


def _resized(pixels: np.ndarray, sides: tuple[int, int], interpolation: str) -> np.ndarray:
    # Contiguous pixels are channels_last, torch's fast path for bytes, if the axis of images comes before the
    # permutation: behind it, its stride would tell torch otherwise. Of read-only pixels torch would warn.
    planes = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))[None].permute(0, 3, 1, 2)
    resized = F.interpolate(planes, sides, mode=interpolation, antialias=True, align_corners=False)
    return resized[0].permute(1, 2, 0).numpy()


def apply(pixels: np.ndarray, p: Parameters, *, size: int, interpolation: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8, RGB -> the view (size, size, 3)."""
    view = crop(pixels, p, size=size, interpolation=interpolation)
    for operation in p.order if p.jitter else ():
        view = _jittered(view, operation, p)
    if p.grayscale:
        view = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if p.sigma:
        kernel = blur_kernel(p.sigma)
        view = cv2.sepFilter2D(view, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    if p.solarize:
        view = cv2.bitwise_xor(view, cv2.compare(view, 127, cv2.CMP_GT))  # pyright: ignore  # x ^ 255 = 255 - x
    if p.flip:
        view = cv2.flip(view, 1)
    return np.ascontiguousarray(np.rot90(view, p.turns)) if p.turns else view


def _jittered(view: np.ndarray, operation: int, p: Parameters) -> np.ndarray:
    if operation == 3:
        hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)
        hue = hsv[..., 0]
        np.add(hue, np.uint8(int(p.hue * 255) % 256), out=hue)  # wraps round, as torchvision's does
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    affine = np.empty((3, 4), np.float32)
    affine[:, 3] = TRUNCATE
    if operation == 2:
        affine[:, :3] = GRAY * np.float32(1 - p.saturation) + np.eye(3, dtype=np.float32) * np.float32(p.saturation)
    else:
        affine[:, :3] = np.eye(3, dtype=np.float32) * np.float32(p.contrast if operation else p.brightness)
        if operation == 1:
            mean = int(cv2.mean(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY))[0] + 0.5)
            affine[:, 3] += np.float32(mean * (1 - p.contrast))
    return cv2.transform(view, affine)


def blur_kernel(sigma: float) -> np.ndarray:
    """The taps that Pillow's GaussianBlur has: a box of fractional radius, three times over (its BoxBlur.c).

    The radius r of the box is such that three of them have the variance sigma^2. Returns (2 k + 1,), float32.
    """
    variance = sigma * sigma / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    radius = whole + part
    inner = int(radius)
    weight = 1 / (2 * radius + 1)
    box = np.full(2 * inner + 3, weight)
    box[0] = box[-1] = (1 - (2 * inner + 1) * weight) / 2
    return np.convolve(np.convolve(box, box), box).astype(np.float32)
