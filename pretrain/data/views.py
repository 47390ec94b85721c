"""A JPEG becomes the views a method wants: named recipes as data, one function that applies them."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import v2

from pretrain.config import ViewsConfig
from pretrain.data.backends import opencv, pil
from pretrain.data.view_parameters import Parameters, draw
from pretrain.data.view_recipes import IMAGENET_MEAN, IMAGENET_STD, NORMALISATIONS, RECIPES, View

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "NORMALISATIONS", "RECIPES", "View", "ViewsConfig"]

INTERPOLATIONS = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}


def random_views(config: ViewsConfig) -> tuple[View, ...]:
    """The views of a named recipe, then the small ones, blurred as much as the large (released SwAV code)."""
    large = tuple(_sized(view, config.size, (config.min_scale, 1.0)) for view in RECIPES[config.recipe])
    small = _sized(RECIPES[config.recipe][0], config.small_size, (config.small_min_scale, config.small_max_scale))
    return tuple(replace(view, interpolation=config.interpolation) for view in large + (small,) * config.small)


def _sized(view: View, size: int, scale: tuple[float, float]) -> View:
    low, high = view.blur_sigma
    if view.blur_size:
        high = max(high * size / view.blur_size, low)
    return replace(view, size=size, scale=scale, blur_sigma=(low, high))


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
            v2.RandomResizedCrop(
                view.size, scale=view.scale, interpolation=INTERPOLATIONS[view.interpolation], antialias=True
            ),
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
    """Turn an image into its views by torchvision, as a function of the image and ``key`` alone.

    The same (seed, epoch, index) gives the same pixels in any process and after any number of restarts.
    """

    def __init__(self, views: tuple[View, ...]):
        self.pipelines = [pipeline(view) for view in views]

    def __call__(self, image: Image.Image, key: tuple[int, ...]) -> tuple[Tensor, ...]:
        # Nothing here is drawn on a GPU, and torch.manual_seed, which seeds those too, takes half a millisecond.
        torch.default_generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
        return tuple(pipeline(image) for pipeline in self.pipelines)


class ParameterViews:
    """Turn an image into its views from `Parameters` drawn for (seed, epoch, index, view), by Pillow or OpenCV.

    With ``crops_only`` the views are the resized crops, for `pretrain.data.backends.batched` to go on with.
    """

    def __init__(self, views: tuple[View, ...], backend: str):
        self.views, self.backend, self.crops_only = views, backend, backend == "torch"
        self.apply = {"pil": pil.apply, "cv2": opencv.apply, "torch": opencv.crop}[backend]

    def __call__(self, image: Image.Image | np.ndarray, key: tuple[int, int, int]) -> "list[tuple[Tensor, Parameters]]":
        """(3, size, size) uint8 and its parameters, for each view."""
        width, height = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
        made = []
        for number, view in enumerate(self.views):
            parameters = draw(view, (*key, number), width=width, height=height)
            pixels = self.apply(image, parameters, size=view.size, interpolation=view.interpolation)
            made.append((torch.from_numpy(pixels).permute(2, 0, 1), parameters))
        return made


def backend_of(config: ViewsConfig, device: str) -> str:
    """The backend that a run uses on ``cuda`` or ``cpu``: ``auto`` is torch on a GPU and cv2 elsewhere."""
    if config.backend != "auto":
        return config.backend
    return "torch" if device == "cuda" else "cv2"


def normalise(images: Tensor, mean=IMAGENET_MEAN, std=IMAGENET_STD) -> Tensor:
    """uint8 (B, 3, H, W) -> float32 in channels_last, each channel less its mean over its standard deviation.

    Mean and standard deviation are those of values in [0, 1]. A row of pixels is handled as one row of 3 W numbers, so
    that the innermost loop is long.
    """
    width = images.shape[3]
    rows = images.permute(0, 2, 3, 1).contiguous().flatten(2) / 255
    of_row = torch.tensor([mean, std], dtype=torch.float32).repeat(1, width).to(images.device, non_blocking=True)
    return rows.sub_(of_row[0]).div_(of_row[1]).unflatten(2, (width, 3)).permute(0, 3, 1, 2)
