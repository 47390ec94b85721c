"""A JPEG becomes the views a method wants: named recipes as data, one function that applies them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import v2

from pretrain.command_line import one_of

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class View:
    """How one random view of an image is made. Defaults: the first view of MoCo v3 and BYOL."""

    size: int = 224
    """Side of the view, pixels."""
    scale: tuple[float, float] = (0.2, 1.0)
    """Area of the crop, share of the image."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    """Largest change of brightness, contrast, saturation, hue."""
    jitter_p: float = 0.8
    grayscale_p: float = 0.2
    blur_p: float = 1.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Standard deviation of the Gaussian blur, pixels of the view."""
    solarize_p: float = 0.0
    flip_p: float = 0.5
    quarter_turns: bool = False
    """Turn by a random multiple of 90 degrees: for images without an up, like the drawn scenes or views from above."""


_FIRST = View()
_SECOND = replace(_FIRST, blur_p=0.1, solarize_p=0.2)

# Each recipe is the tuple of views an image is turned into.
RECIPES: dict[str, tuple[View, ...]] = {
    # Released Matrix-SSL and MEC code, which took it from MoCo v3.
    "asymmetric": (_FIRST, _SECOND),
    # The drawn scenes: shapes lie at any angle and colour says nothing of the shape, so most views are turned and grey.
    "scenes": (
        replace(_FIRST, grayscale_p=0.8, blur_p=0.3, quarter_turns=True),
        replace(_FIRST, grayscale_p=0.8, blur_p=0.1, solarize_p=0.2, quarter_turns=True),
    ),
    # MoCo v2 and SimSiam: both views alike, stronger saturation, no solarisation.
    "symmetric": (replace(_FIRST, jitter=(0.4, 0.4, 0.4, 0.1), blur_p=0.5),) * 2,
}


def recipe(name: str, *, size: int, min_scale: float) -> tuple[View, ...]:
    """The views of a named recipe at a side of ``size`` pixels.

    The blur is stated for 224 pixels and shrinks with the view, so that a small view is not blurred to nothing.
    """
    one_of("view recipe", name, RECIPES)
    low, high = _FIRST.blur_sigma
    sigma = (low, max(high * size / 224, low))
    return tuple(replace(v, size=size, scale=(min_scale, v.scale[1]), blur_sigma=sigma) for v in RECIPES[name])


class QuarterTurn(v2.Transform):
    """A turn by 0, 90, 180 or 270 degrees, which moves pixels and makes no new ones."""

    def make_params(self, flat_inputs: list) -> dict:
        return {"turns": int(torch.randint(4, ()))}

    def transform(self, image: Image.Image, params: dict) -> Image.Image:
        turns = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
        return image.transpose(turns[params["turns"]]) if params["turns"] else image


class GaussianBlur(v2.Transform):
    """PIL's Gaussian blur with a random standard deviation: the released code's, and faster than on tensors."""

    def __init__(self, sigma: tuple[float, float]):
        super().__init__()
        self.sigma = sigma

    def make_params(self, flat_inputs: list) -> dict:
        return {"radius": torch.empty(()).uniform_(*self.sigma).item()}

    def transform(self, image: Image.Image, params: dict) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(params["radius"]))


def pipeline(view: View) -> v2.Compose:
    """PIL image -> uint8 tensor (3, size, size). Randomness comes from torch's global generator."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(view.size, scale=view.scale, antialias=True),
            v2.RandomApply([v2.ColorJitter(*view.jitter)], view.jitter_p),
            v2.RandomGrayscale(view.grayscale_p),
            v2.RandomApply([GaussianBlur(view.blur_sigma)], view.blur_p),
            v2.RandomSolarize(128, view.solarize_p),
            v2.RandomHorizontalFlip(view.flip_p),
            *([QuarterTurn()] if view.quarter_turns else []),
            v2.PILToTensor(),
        ]
    )


class Augment:
    """Turn an image into its views, as a function of the image and ``key`` alone.

    The same (seed, epoch, index) gives the same pixels in any process and after any number of restarts.
    """

    def __init__(self, views: tuple[View, ...]):
        self.pipelines = [pipeline(view) for view in views]

    def __call__(self, image: Image.Image, key: tuple[int, ...]) -> tuple[Tensor, ...]:
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
        return tuple(pipeline(image) for pipeline in self.pipelines)


def normalise(images: Tensor, mean=IMAGENET_MEAN, std=IMAGENET_STD) -> Tensor:
    """uint8 (B, 3, H, W) -> float32, each channel less its mean over its standard deviation (both for [0, 1])."""
    mean_C = torch.tensor(mean, device=images.device).view(1, 3, 1, 1)
    std_C = torch.tensor(std, device=images.device).view(1, 3, 1, 1)
    return (images.float() / 255 - mean_C) / std_C
