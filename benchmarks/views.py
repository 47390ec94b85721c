"""How many views a core makes in a second: each backend against the papers' own recipe, interleaved in one process.

    python benchmarks/views.py [--rounds 5] [--images 16]

One thread, CPU time, JPEG files of 500 x 375 pixels (pieces of scikit-learn's two photographs). "official" is
the recipe of MoCo v3's released code, torchvision's first transforms on PIL images. The ratios hold between machines;
the absolute numbers do not.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from sklearn.datasets import load_sample_images
from torchvision import transforms

from pretrain.data.backends import opencv, pil
from pretrain.data.decode import read_pixels
from pretrain.data.view_parameters import draw
from pretrain.data.views import RECIPES
from transfer.classification.crops import RandomCrop


def photographs(count: int, folder: Path) -> list[Path]:
    """JPEG files of 500 x 375 pixels, quality 90."""
    files = []
    for number in range(count):
        picture = load_sample_images().images[number % 2]
        rng = np.random.default_rng(number)
        height = int(rng.integers(300, picture.shape[0] + 1))
        width = height * 4 // 3
        top, left = (
            int(rng.integers(side - part + 1)) for side, part in zip(picture.shape[:2], (height, width), strict=True)
        )
        piece = Image.fromarray(picture[top : top + height, left : left + width]).resize((500, 375))
        files.append(folder / f"{number}.jpg")
        piece.save(files[-1], quality=90)
    return files


class Blur:
    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(np.random.uniform(0.1, 2.0)))


def official(blur: float, solarize: float) -> transforms.Compose:
    """One of MoCo v3's two pipelines."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(224, scale=(0.2, 1.0)),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.RandomApply([Blur()], p=blur),
            transforms.RandomApply([ImageOps.solarize], p=solarize),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )


OFFICIAL = (official(1.0, 0.0), official(0.1, 0.2))
PROBE = transforms.Compose([transforms.RandomResizedCrop(224), *OFFICIAL[0].transforms[-3:]])
QUICK, PLAIN = (RandomCrop(size=224, min_scale=0.08, crops=crops) for crops in ("cv2", "torchvision"))
HOW = {"size": 224, "interpolation": "bilinear"}


def by_official(file: Path, number: int) -> None:
    image = Image.open(file).convert("RGB")
    for pipeline in OFFICIAL:
        pipeline(image)


def by_pil(file: Path, number: int) -> None:
    image = Image.open(file).convert("RGB")
    for k, view in enumerate(RECIPES["asymmetric"]):
        pil.apply(image, draw(view, (0, 0, number, k), width=500, height=375), **HOW)


def by_cv2(file: Path, number: int) -> None:
    pixels = read_pixels(file)
    for k, view in enumerate(RECIPES["asymmetric"]):
        opencv.apply(pixels, draw(view, (0, 0, number, k), width=500, height=375), **HOW)


def crops_for_torch(file: Path, number: int) -> None:
    pixels = read_pixels(file)
    for k, view in enumerate(RECIPES["asymmetric"]):
        opencv.crop(pixels, draw(view, (0, 0, number, k), width=500, height=375), **HOW)


def official_probe_crop(file: Path, number: int) -> None:
    PROBE(Image.open(file).convert("RGB"))


def probe_crop(file: Path, number: int) -> None:
    QUICK(read_pixels(file), (0, 0, number))


def probe_crop_by_torchvision(file: Path, number: int) -> None:
    PLAIN(read_pixels(file), (0, 0, number))


# name -> (what is timed, views of an image it makes, what it is compared with)
VARIANTS: dict[str, tuple[Callable, int, str]] = {
    "official": (by_official, 2, "official"),
    "pil": (by_pil, 2, "official"),
    "cv2": (by_cv2, 2, "official"),
    "torch, the worker's part": (crops_for_torch, 2, "official"),
    "official crop of a probe": (official_probe_crop, 1, "official crop of a probe"),
    "crops=cv2 of a probe": (probe_crop, 1, "official crop of a probe"),
    "crops=torchvision of it": (probe_crop_by_torchvision, 1, "official crop of a probe"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="the median of these is shown")
    parser.add_argument("--images", type=int, default=16, help="files in a round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        measure(photographs(options.images, Path(folder)), options.rounds)


def measure(files: list[Path], rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for turn in range(rounds + 1):  # the first round warms up
        for name, (make, _, _) in VARIANTS.items():
            begin = time.process_time()
            for number, file in enumerate(files):
                make(file, number + turn * len(files))
            if turn:
                seconds[name].append(time.process_time() - begin)
    speed = {name: VARIANTS[name][1] * len(files) / statistics.median(taken) for name, taken in seconds.items()}
    print(f"{'variant':26} {'views/s':>8} {'ratio':>6}")
    for name, (_, _, reference) in VARIANTS.items():
        print(f"{name:26} {speed[name]:8.0f} {speed[name] / speed[reference]:6.2f}")


if __name__ == "__main__":
    main()
