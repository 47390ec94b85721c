"""Views by Pillow, operation by operation what the papers' code does: the reference for the other backends."""

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torchvision.transforms.v2 import functional

from pretrain.data.view_parameters import Parameters

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
TURNS = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def apply(image: Image.Image, p: Parameters, *, size: int, interpolation: str) -> np.ndarray:
    """An RGB image -> the view (size, size, 3), uint8."""
    image = image.crop((p.left, p.top, p.left + p.width, p.top + p.height))
    image = image.resize((size, size), RESAMPLING[interpolation])
    for operation in p.order if p.jitter else ():
        image = _jittered(image, operation, p)
    if p.grayscale:
        image = image.convert("L").convert("RGB")
    if p.sigma:
        image = image.filter(ImageFilter.GaussianBlur(p.sigma))
    if p.solarize:
        image = ImageOps.solarize(image, 128)
    if p.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if (turn := TURNS[p.turns]) is not None:
        image = image.transpose(turn)
    return np.array(image)


def _jittered(image: Image.Image, operation: int, p: Parameters) -> Image.Image:
    if operation == 0:
        return ImageEnhance.Brightness(image).enhance(p.brightness)
    if operation == 1:
        return ImageEnhance.Contrast(image).enhance(p.contrast)
    if operation == 2:
        return ImageEnhance.Color(image).enhance(p.saturation)
    return functional.adjust_hue(image, p.hue)  # pyright: ignore  # its types name tensors only
