"""The same parameters give the same picture, whichever backend makes it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images

from pretrain.data.backends import batched, opencv, pil
from pretrain.data.view_parameters import draw
from pretrain.data.views import RECIPES, View, ViewsConfig, random_views

IMAGES = 32
PHOTOGRAPHS = load_sample_images().images


def photograph(number: int, *, height: int = 150, width: int = 200) -> np.ndarray:
    """A piece of one of the two photographs that come with scikit-learn."""
    picture = PHOTOGRAPHS[number % 2]
    rng = np.random.default_rng(number)
    scale = 1 if height > 32 else 4  # a small image shows as much of the scene as a large one
    top, left = (rng.integers(picture.shape[k] - scale * part) for k, part in enumerate((height, width)))
    piece = Image.fromarray(picture[top : top + scale * height, left : left + scale * width])
    return np.array(piece.resize((width, height), Image.Resampling.BICUBIC))


def views_by(backend: str, pixels: list[np.ndarray], view: View, number: int = 0) -> np.ndarray:
    sizes = [image.shape[:2] for image in pixels]
    rows = [draw(view, (0, 0, k, number), width=w, height=h) for k, (h, w) in enumerate(sizes)]
    how = {"size": view.size, "interpolation": view.interpolation}
    if backend == "pil":
        return np.stack([pil.apply(Image.fromarray(x), p, **how) for x, p in zip(pixels, rows, strict=True)])
    if backend == "cv2":
        return np.stack([opencv.apply(x, p, **how) for x, p in zip(pixels, rows, strict=True)])
    crops = np.stack([opencv.crop(x, p, **how) for x, p in zip(pixels, rows, strict=True)])
    planes = torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()
    return batched.apply(planes, batched.operations(rows)).permute(0, 2, 3, 1).numpy()


CONFIGS = {name: ViewsConfig(recipe=name, size=32 if "cifar" in name else 96) for name in RECIPES}
CONFIGS["multi-crop"] = ViewsConfig(recipe="simclr", size=96, small=1, small_size=48)
CONFIGS["bicubic"] = ViewsConfig(recipe="asymmetric", size=96, interpolation="bicubic")


@pytest.mark.parametrize("backend", ["cv2", "torch"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_recipe_is_the_same_picture_on_every_backend(name, backend):
    height, width = (32, 32) if "cifar" in name else (150, 200)
    pixels = [photograph(k, height=height, width=width) for k in range(IMAGES)]
    for number, view in enumerate(random_views(CONFIGS[name])):
        reference = views_by("pil", pixels, view, number).astype(float)
        difference = views_by(backend, pixels, view, number) - reference
        worst = np.abs(difference).mean((1, 2, 3)).max()
        assert np.abs(difference).mean() <= 0.6 and worst <= 2 and abs(difference.mean()) <= 0.3, (number, worst)


def test_a_view_of_the_batch_is_the_view_alone():
    pixels = [photograph(k) for k in range(4)]
    view = replace(RECIPES["asymmetric"][1], size=48, blur_p=0.5, solarize_p=0.5, quarter_turns=True)
    together = views_by("torch", pixels, view)
    rows = [draw(view, (0, 0, k, 0), width=200, height=150) for k in range(4)]
    for k, p in enumerate(rows):
        crop = torch.from_numpy(opencv.crop(pixels[k], p, size=48, interpolation="bilinear")).permute(2, 0, 1)[None]
        alone = batched.apply(crop.contiguous(), batched.operations([p]))
        assert torch.equal(alone[0].permute(1, 2, 0), torch.from_numpy(together[k]))


def test_parameters_are_a_function_of_the_key_and_follow_the_recipe():
    view = View(solarize_p=0.2, quarter_turns=True)
    rows = [draw(view, (3, 1, k, 0), width=500, height=375) for k in range(4000)]
    assert rows[7] == draw(view, (3, 1, 7, 0), width=500, height=375)
    keys = [(3, 1, 7, 1), (3, 2, 7, 0), (4, 1, 7, 0), (3, 1, 8, 0)]
    assert rows[7] not in [draw(view, key, width=500, height=375) for key in keys]

    def share(field):
        return np.mean([bool(getattr(p, field)) for p in rows])

    spread = 4 * math.sqrt(0.25 / len(rows))
    for field, expected in (("jitter", 0.8), ("grayscale", 0.2), ("solarize", 0.2), ("flip", 0.5), ("turns", 0.75)):
        assert abs(share(field) - expected) < spread, field
    areas = np.array([p.height * p.width / (500 * 375) for p in rows])
    assert areas.min() > 0.19 and areas.max() <= 1 and abs(np.quantile(areas, 0.25) - 0.4) < 0.06
    assert {p.order for p in rows} >= {(0, 1, 2, 3), (3, 2, 1, 0)} and len({p.order for p in rows}) == 24
    assert all(0 <= p.top <= 375 - p.height and 0 <= p.left <= 500 - p.width for p in rows)


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0, 2.0, 3.5])
def test_the_taps_of_the_blur_are_pillows(sigma):
    impulse = np.zeros((41, 41, 3), np.uint8)
    impulse[20, 20] = 255
    blurred = np.array(Image.fromarray(impulse).filter(ImageFilter.GaussianBlur(sigma)))[..., 0].astype(float)
    taps = opencv.blur_kernel(sigma)
    assert abs(taps.sum() - 1) < 1e-6
    middle, half = len(taps) // 2, min(20, len(taps) // 2)
    expected = 255 * np.outer(taps, taps)[middle - half : middle + half + 1, middle - half : middle + half + 1]
    assert np.abs(blurred[20 - half : 21 + half, 20 - half : 21 + half] - expected).max() <= 2.5


def _first_batches(root: str, backend: str, workers: int, start: int):
    """The views of two steps of this rank, finished."""
    from pretrain.config import DataConfig, TrainConfig
    from pretrain.data import datasets

    views = ViewsConfig(recipe="scenes", size=32, small=1, small_size=16, backend=backend)
    settings = TrainConfig(batch_size=8, data=DataConfig(root=root, workers=workers), views=views)
    source = datasets.images(settings.data)
    cpu = torch.device("cpu")
    loader = datasets.batches(source, settings, total_steps=start + 2, start=start, device=cpu)
    return [batch.to(cpu).finished_views() for batch in loader]


@pytest.mark.parametrize("backend", ["pil", "cv2", "torch"])
def test_ranks_workers_and_a_start_in_the_middle_see_the_same_pixels(scenes, ranks, backend):
    root = str(scenes / "unlabelled")
    expected = _first_batches(root, backend, 0, 0)
    assert len(expected[0]) == 3 and expected[0][0].shape == (8, 3, 32, 32) and expected[0][0].dtype == torch.uint8
    again = _first_batches(root, backend, 2, 1)[0]
    shared = [
        [torch.cat(parts) for parts in zip(*steps, strict=True)]
        for steps in zip(*ranks(2, _first_batches, root, backend, 0, 0), strict=True)
    ]
    for found, wanted in ((again, expected[1]), (shared[0], expected[0]), (shared[1], expected[1])):
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
