"""A pretrained backbone as the probes meet it: frozen, in eval mode, with the input it was trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from pretrain.backbones import resnet
from pretrain.checkpoints import checkpoint
from pretrain.data.views import IMAGENET_MEAN, IMAGENET_STD, normalise
from runtime import distributed
from runtime.command_line import UserError
from runtime.files import sha256
from runtime.progress import Progress
from transfer.classification import shards
from transfer.classification.crops import CentreCrops, centre_batches

RANDOM = "random"
WIDTH = 2048
"""Features of an image: ResNet-50's pooled outputs."""


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A ResNet-50 and what is known of it."""

    network: nn.Module
    """Images (B, 3, H, W) to features (B, 2048); in eval mode."""
    about: dict
    """method, recipe, variant, epochs, weights_sha256: the part of a Record that names a backbone."""
    stem: str = "imagenet"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    """Of the channels, in RGB order, for values in [0, 1]."""

    def inputs(self, pixels: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) -> what the network was trained on."""
        return normalise(pixels, self.mean, self.std).contiguous(memory_format=torch.channels_last)


def read(weights: str, seed: int) -> Backbone:
    """The backbone of a ``backbone.pth``, or for ``random`` the untrained network of a seed.

    Raises UserError for a file that is no ResNet-50 of this suite.
    """
    if weights == RANDOM:
        about = {"method": RANDOM, "recipe": "", "variant": "", "epochs": 0, "weights_sha256": ""}
        return Backbone(network=resnet.random_resnet50(seed).eval(), about=about)
    content = checkpoint.read_backbone(weights)
    state, seen = content["state_dict"], content["input"]
    first = state.get("conv1.weight")
    stem = "cifar" if first is not None and first.shape[-1] == 3 else "imagenet"
    network = resnet.resnet50(stem=stem)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{weights} is not a ResNet-50: {' '.join(str(error).split())[:200]}") from error
    if seen["order"] != "RGB":
        raise UserError(f"{weights} wants {seen['order']} images; the probes feed RGB")
    about = {key: content[key] for key in ("method", "recipe", "epochs")}
    about |= {"variant": content.get("variant", ""), "weights_sha256": sha256(weights)}
    mean, std = tuple(seen["mean"]), tuple(seen["std"])
    return Backbone(network=network.eval(), about=about, stem=stem, mean=mean, std=std)


@torch.no_grad()
def measure_statistics(
    network: nn.Module, images: Dataset, *, seed: int, device: torch.device, batches: int = 10, prepare=normalise
) -> None:
    """Set every batch norm to the mean statistics of ``batches`` random batches of 100 images, as PreciseBN does.

    ``images`` gives (uint8 (3, H, W), ...), ``prepare`` makes a batch of them the network's input. Every rank sees the
    same images; the first one's statistics are everyone's.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average instead of a moving one
    count = min(len(images), 100 * batches)
    count -= count % 100 == 1  # a batch of one has no variance
    if count < 2:
        raise UserError(f"batch statistics need at least 2 training images, found {len(images)}")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]
    network.train()
    for pixels, *_ in DataLoader(Subset(images, order.tolist()), batch_size=100):
        network(prepare(pixels.to(device)))
    network.eval()
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    if distributed.world_size() > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)


@torch.no_grad()
def features(
    trunk: Backbone, crops: CentreCrops, *, device: torch.device, workers: int, precision: str = "fp32"
) -> tuple[Tensor, Tensor]:
    """Features (n, 2048), float32, and labels (n,) of every image, in order; each rank computes its share of them."""
    order = shards.mine(len(crops))
    progress = Progress(len(order), "features", quiet=not distributed.is_main())
    rows, labels = [], []
    for pixels, targets in centre_batches(crops, order, batch_size=100, workers=workers):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            rows.append(trunk.network(trunk.inputs(pixels.to(device, non_blocking=True))).float())
        labels.append(targets.to(device))
        progress.update(sum(map(len, rows)))
    return shards.whole(torch.cat(rows), len(crops)), shards.whole(torch.cat(labels), len(crops))
