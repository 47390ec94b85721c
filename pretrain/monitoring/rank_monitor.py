"""Effective ranks of the backbone on fixed images while it trains: collapse and growth, seen before the run is over.

One pass over N images without gradients costs what about N / 3 views of a training step cost. At N = 256 and a look
every 50 steps that is 0.8% of the time of steps of 64 images in two views (measured), and a sixteenth of it at 1,024.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from pretrain.config import TrainConfig
from pretrain.data.datasets import Cifar, ImageFolder
from pretrain.data.image_index import NO_LABEL
from pretrain.data.views import NORMALISATIONS, normalise
from pretrain.losses.class_ranks import inter_class, intra_class, total
from runtime import distributed
from runtime.command_line import UserError
from runtime.precision import autocast

PER_CLASS = 32  # of as many classes as fit: ranks within a class are bounded by 31
CHUNK = 64


class RankMonitor:
    """A fixed set of images; calling it with a network gives {"rank_total": ..., "rank_intra": ..., "rank_inter": ...}.

    Args:
        pixels: (N, 3, S, S) uint8.
        labels: (N,) the same number of images of each class, or None: then there is ``rank_total`` only.
        mean, std: of the network's input.
    """

    def __init__(self, pixels: Tensor, labels: Tensor | None, *, mean, std):
        self.pixels, self.labels, self.mean, self.std = pixels, labels, mean, std

    @torch.no_grad()
    def __call__(self, backbone: nn.Module, device: torch.device, precision: str) -> dict[str, float]:
        """Ranks over covariance eigenvalues, in eval mode; every rank takes a share of the images and gets the values.

        Weights, batch statistics and random numbers stay as they were.
        """
        was_training = backbone.training
        backbone.eval()
        rows = []
        for pixels in self.pixels[distributed.shard(len(self.pixels))].split(CHUNK):
            with autocast(precision, device):
                inputs = normalise(pixels.to(device), self.mean, self.std)
                rows.append(backbone(inputs).float())
        backbone.train(was_training)
        h = distributed.gather_shards(torch.cat(rows), len(self.pixels)).double().cpu()
        ranks = {"rank_total": total(h)}
        if self.labels is not None:
            ranks |= {"rank_intra": intra_class(h, self.labels), "rank_inter": inter_class(h, self.labels)}
        return {name: rank.item() for name, rank in ranks.items()}


def monitor_of(source: ImageFolder | Cifar, *, count: int, size: int, mean, std) -> RankMonitor:
    """The monitor of at most ``count`` images of ``source``, the same in every run over the same images.

    With classes: 32 images each of the first classes that have them. Raises UserError for fewer than 2 images, and
    for one that cannot be read.
    """
    order = np.random.default_rng(0).permutation(len(source)).tolist()
    members: dict[int, list[int]] = {}
    for place in order:
        members.setdefault(int(source.labels[place]), []).append(place)
    classes = sorted(k for k, places in members.items() if k != NO_LABEL and len(places) >= PER_CLASS)
    classes = classes[: count // PER_CLASS]
    if len(classes) >= 2:
        chosen = [place for k in classes for place in members[k][:PER_CLASS]]
        labels = torch.tensor(classes).repeat_interleave(PER_CLASS)
    else:
        chosen, labels = order[:count], None
    if len(chosen) < 2:
        raise UserError(
            f"a rank needs at least 2 images, log.probe_images={count} of {len(source)} gives {len(chosen)}"
        )
    crop = v2.Compose([v2.Resize(size, antialias=True), v2.CenterCrop(size), v2.PILToTensor()])
    return RankMonitor(torch.stack([crop(_read(source, place)) for place in chosen]), labels, mean=mean, std=std)


def from_settings(settings: TrainConfig, source: ImageFolder | Cifar) -> RankMonitor | None:
    """The monitor that the settings ask for, over the training images unless log.probe_root names others."""
    log, made = settings.log, settings.views
    if not log.probe_every:
        return None
    images = ImageFolder(log.probe_root) if log.probe_root else source
    mean, std = NORMALISATIONS[made.normalisation]
    return monitor_of(images, count=log.probe_images, size=made.size, mean=mean, std=std)


def _read(source: ImageFolder | Cifar, place: int) -> Image.Image:
    try:
        return source[place]
    except (OSError, SyntaxError, ValueError) as error:
        name = source.name(place)
        raise UserError(f"{name} cannot be read; repair it, or give log.probe_root a folder of whole images") from error
