"""What a masked auto-encoder makes of a few images: a picture at the end of a run."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms import v2

from pretrain.config import TrainConfig
from pretrain.data.datasets import Cifar, ImageFolder
from pretrain.data.decode import UnreadableImage
from pretrain.data.views import NORMALISATIONS, normalise
from pretrain.networks.masked_autoencoder import MaskedAutoencoder
from runtime.files import replacing

FILE = "reconstructions.png"
COLUMNS = ("image", "masked", "reconstructed")
IMAGES, SHOWN = 8, 96
"""How many images; the least side at which each is shown, pixels."""


def write(folder: Path, network: MaskedAutoencoder, source: ImageFolder | Cifar, settings: TrainConfig) -> None:
    """Write reconstructions.png: a row for each of a few training images, the same in every run over these images.

    Each is cropped in its middle, masked as it is in the first epoch, and reconstructed from what is left. Targets that
    are normalised leave mean and deviation of a patch open: the picture takes those of the image.
    """
    places, pixels = _chosen(source, settings.views.size)
    if not places:
        return
    mean, std = NORMALISATIONS[settings.views.normalisation]
    device = next(network.parameters()).device
    keys = torch.tensor([(settings.seed, 0, place) for place in places])
    was_training = network.training
    network.eval()
    seen, rebuilt = network.reconstruct(normalise(pixels.to(device), mean, std), keys)
    network.train(was_training)
    back = [_pixels(images, mean, std) for images in (seen, rebuilt)]
    with replacing(folder / FILE) as temporary:
        _grid([pixels, *back]).save(temporary, format="png")


def _chosen(source: ImageFolder | Cifar, side: int) -> tuple[list[int], Tensor]:
    """Up to eight images that can be read, by their places, and their middles (n, 3, side, side), uint8."""
    crop = v2.Compose([v2.Resize(side, antialias=True), v2.CenterCrop(side), v2.PILToTensor()])
    places, crops = [], []
    for place in np.random.default_rng(0).permutation(len(source))[: 2 * IMAGES].tolist():
        try:
            crops.append(crop(source[place]))
        except UnreadableImage:
            continue
        places.append(place)
        if len(places) == IMAGES:
            break
    return places, torch.stack(crops) if crops else torch.empty(0)


def _pixels(images: Tensor, mean: tuple, std: tuple) -> Tensor:
    """The inverse of `normalise`, as far as it lies in [0, 255]."""
    scale, shift = (torch.tensor(values, device=images.device)[:, None, None] for values in (std, mean))
    return ((images * scale + shift) * 255).clamp(0, 255).round().byte().cpu()


def _grid(columns: list[Tensor]) -> Image.Image:
    """Columns of images (n, 3, S, S) side by side under their names."""
    side, gap, head = columns[0].shape[-1], 4, 14
    shown = side * -(-SHOWN // side)
    size = (len(columns) * (shown + gap) + gap, len(columns[0]) * (shown + gap) + gap + head)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for column, (name, images) in enumerate(zip(COLUMNS, columns, strict=True)):
        left = gap + column * (shown + gap)
        draw.text((left, 1), name, fill="black")
        for row, image in enumerate(images):
            tile = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((shown, shown), Image.Resampling.NEAREST)
            canvas.paste(tile, (left, head + gap + row * (shown + gap)))
    return canvas
