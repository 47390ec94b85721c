"""A JPEG becomes the views a method wants: named recipes as data, one function that applies them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import v2

from runtime.command_line import UserError, one_of

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# name -> mean and standard deviation of the channels, for values in [0, 1]
NORMALISATIONS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "swav": (IMAGENET_MEAN, (0.228, 0.224, 0.225)),  # the released code's; not a slip of ours
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),  # solo-learn's, of the training images
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "cifar10-moco": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),  # MoCo's notebook: deviations within images
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
INTERPOLATIONS = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    recipe: str = "asymmetric"
    """Named recipe of random views (pretrain/data/views.py): asymmetric, symmetric, simclr, supervised, cifar,
    cifar-asymmetric, cifar-solarize or scenes."""

    size: int = 224
    """Side of a view, pixels."""

    min_scale: float = 0.2
    """Smallest crop, share of the image's area."""

    small: int = 0
    """Small views besides, drawn like the recipe's first one (SwAV's multi-crop: 6)."""

    small_size: int = 96
    """Side of a small view, pixels."""

    small_min_scale: float = 0.05
    """Smallest crop of a small view, share of the image's area."""

    small_max_scale: float = 0.14
    """Largest crop of a small view, share of the image's area."""

    interpolation: str = "bilinear"
    """bilinear or bicubic."""

    normalisation: str = "imagenet"
    """imagenet, swav (a standard deviation of 0.228 for red), cifar10, cifar10-moco, cifar100 or none (values in
    [0, 1]); it goes along with the backbone, to Detectron2."""


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
    blur_size: int = 0
    """Side of the view that blur_sigma is meant for, and with which its upper end shrinks; 0: the same at any size."""
    solarize_p: float = 0.0
    flip_p: float = 0.5
    interpolation: str = "bilinear"
    quarter_turns: bool = False
    """Turn by a random multiple of 90 degrees: for images without an up, like the drawn scenes or views from above."""


_FIRST = View()
_SECOND = replace(_FIRST, blur_p=0.1, solarize_p=0.2)

# Each recipe is the tuple of views an image is turned into.
RECIPES: dict[str, tuple[View, ...]] = {
    # Released Matrix-SSL and MEC code, which took it from MoCo v3.
    "asymmetric": (_FIRST, _SECOND),
    # The drawn scenes: shapes lie at any angle and colour says nothing of the shape, so most views are turned and grey.
    # Their views are small, and the blur for 224 pixels would leave nothing of them.
    "scenes": (
        replace(_FIRST, grayscale_p=0.8, blur_p=0.3, blur_size=224, quarter_turns=True),
        replace(_FIRST, grayscale_p=0.8, blur_p=0.1, blur_size=224, solarize_p=0.2, quarter_turns=True),
    ),
    # MoCo v2 and SimSiam: both views alike, stronger saturation, no solarisation.
    "symmetric": (replace(_FIRST, jitter=(0.4, 0.4, 0.4, 0.1), blur_p=0.5),) * 2,
    # SimCLR and SwAV: both views alike, twice the jitter.
    "simclr": (replace(_FIRST, jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5),) * 2,
    # torchvision's reference for training with labels: one view, a crop and a flip.
    "supervised": (replace(_FIRST, jitter_p=0.0, grayscale_p=0.0, blur_p=0.0),),
    # CIFAR without blur: SimSiam (appendix D), MoCo's notebook, SimCLR at half its strength (appendix B.9); BYOL and
    # Barlow Twins, VICReg in solo-learn.
    "cifar": (replace(_FIRST, jitter=(0.4, 0.4, 0.4, 0.1), blur_p=0.0),) * 2,
    "cifar-asymmetric": (replace(_FIRST, blur_p=0.0), replace(_FIRST, blur_p=0.0, solarize_p=0.2)),
    "cifar-solarize": (replace(_FIRST, blur_p=0.0, solarize_p=0.1),) * 2,
}


def recipe(config: ViewsConfig) -> tuple[View, ...]:
    """The views of a named recipe, then the small ones, blurred as much as the large (released SwAV code).

    Raises UserError for a name that is not known and for crops that cannot be.
    """
    one_of("view recipe", config.recipe, RECIPES)
    one_of("views.interpolation", config.interpolation, INTERPOLATIONS)
    one_of("views.normalisation", config.normalisation, NORMALISATIONS)
    if not (0 < config.min_scale <= 1 and 0 < config.small_min_scale <= config.small_max_scale <= 1):
        raise UserError("views: crops are shares of the image, 0 < min_scale <= 1, small_min_scale <= small_max_scale")
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
