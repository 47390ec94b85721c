"""Named recipes of random views and named normalisations, as data: no torch."""

from dataclasses import dataclass, replace

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
INTERPOLATIONS = ("bilinear", "bicubic")


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

_PLAIN = replace(_FIRST, jitter_p=0.0, grayscale_p=0.0, blur_p=0.0)

# Each recipe is the tuple of views an image is turned into.
RECIPES: dict[str, tuple[View, ...]] = {
    # Released Matrix-SSL and MEC code, which took it from MoCo v3.
    "asymmetric": (_FIRST, _SECOND),
    # The drawn scenes: colour says nothing of the class, so most views are grey.
    # Their views are small, and the blur for 224 pixels would leave nothing of them.
    "scenes": (
        replace(_FIRST, grayscale_p=0.8, blur_p=0.3, blur_size=224),
        replace(_FIRST, grayscale_p=0.8, blur_p=0.1, blur_size=224, solarize_p=0.2),
    ),
    # MoCo v2 and SimSiam: both views alike, stronger saturation, no solarisation.
    "symmetric": (replace(_FIRST, jitter=(0.4, 0.4, 0.4, 0.1), blur_p=0.5),) * 2,
    # SimCLR and SwAV: both views alike, twice the jitter.
    "simclr": (replace(_FIRST, jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5),) * 2,
    # torchvision's reference for training with labels: one view, a crop and a flip.
    "supervised": (_PLAIN,),
    # MAE: the same, its crop bicubic and no smaller than 0.2 (main_pretrain.py).
    "masked": (_PLAIN,),
    # CIFAR without blur: SimSiam (appendix D), MoCo's notebook, SimCLR at half its strength (appendix B.9); BYOL and
    # Barlow Twins, VICReg in solo-learn.
    "cifar": (replace(_FIRST, jitter=(0.4, 0.4, 0.4, 0.1), blur_p=0.0),) * 2,
    "cifar-asymmetric": (replace(_FIRST, blur_p=0.0), replace(_FIRST, blur_p=0.0, solarize_p=0.2)),
    "cifar-solarize": (replace(_FIRST, blur_p=0.0, solarize_p=0.1),) * 2,
}
