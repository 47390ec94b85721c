"""The one loader of a pretrained backbone for probes and analysis: frozen, in eval mode, with the input it expects."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from pretrain import backbones, methods
from pretrain.checkpoints import checkpoint
from pretrain.checkpoints.retention import row_variant
from pretrain.data.views import IMAGENET_MEAN, IMAGENET_STD, NORMALISATIONS, normalise
from runtime import distributed
from runtime.command_line import UserError, shortened
from runtime.files import sha256
from transfer.backbones import RANDOM, USUAL

VIEWS = {"recipe": "asymmetric", "min_scale": 0.2}
"""Random views for a network that never saw any."""


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network in eval mode and what is known of it."""

    network: nn.Module
    """Normalised images (B, 3, H, W) to features (B, d)."""
    about: dict
    """method, recipe, variant, epochs, backbone, weights_sha256: the part of a Record that names a backbone."""
    weights: str = RANDOM
    """The file it is from, for messages; or ``random``."""
    features: str = "pooled"
    """Which features of the family's these are."""
    seed: int = 0
    """Of the pretraining; of ``random``, of the untrained network."""
    step: int = 0
    """Of a training checkpoint: it tells those of one run apart. 0 for a finished backbone."""
    stem: str = "imagenet"
    order: str = "RGB"
    """Of the channels that the network expects."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    """Of the channels, in the network's order, for values in [0, 1]."""
    views: dict = field(default_factory=lambda: VIEWS)
    """The settings of the views it was trained with."""

    @property
    def width(self) -> int:
        """Features of an image, d."""
        return self.network.width  # pyright: ignore[reportReturnType]

    def inputs(self, pixels: Tensor) -> Tensor:
        """uint8 RGB images (B, 3, H, W) -> what the network was trained on."""
        pixels = pixels.flip(1) if self.order == "BGR" else pixels
        return normalise(pixels, self.mean, self.std)


def load(
    weights: str | Path,
    layer: str = "backbone",
    *,
    seed: int = 0,
    unfinished: bool = False,
    features: str = USUAL,
    name: str = backbones.USUAL,
    side: int = 224,
    drop_path: float = 0.0,
) -> Backbone:
    """The network in ``weights``: a backbone.pth, or ``random``, the untrained one of a seed.

    Args:
        layer: ``backbone``, or of a training checkpoint ``projector`` for backbone and projector, and ``embeddings``
            for the same where there is a projector, of a masked auto-encoder its class token.
        unfinished: whether a training checkpoint is accepted too; a row of a table must not be one by mistake.
        features: which of its family's (`pretrain.backbones`); ``usual`` is the first.
        name, side: of the untrained network, and of the images it is for, pixels.
        drop_path: stochastic depth, for who trains the network.

    Raises UserError for another file, for one of no known network, for features that its family does not have, and for
    a projector that is not there.
    """
    if str(weights) == RANDOM:
        if layer != "backbone":
            raise UserError(f"the untrained network has no {layer}; give --layer backbone")
        about = {"method": RANDOM, "recipe": "", "variant": "", "epochs": 0, "backbone": name, "weights_sha256": ""}
        fresh = backbones.untrained(name, seed=seed, side=side, drop_path=drop_path)
        network, kind = read_out(fresh.eval(), name, features)
        return Backbone(network=network, about=about, seed=seed, features=kind)
    content = checkpoint.read(weights)
    kind = content.get("format")
    if kind != checkpoint.BACKBONE and not (unfinished and kind == checkpoint.CHECKPOINT):
        found = kind or "a dict with " + ", ".join(map(str, list(content)[:4]))
        raise UserError(f"{weights} is not a backbone.pth of this suite (found {found}); convert it to a .pth first")
    try:
        if kind != checkpoint.BACKBONE:
            return _of_run(content, weights, layer, features)
        return _of_backbone(content, weights, layer, features, drop_path)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{weights} lacks or garbles {error}, which this suite writes; was it edited?") from error


@torch.no_grad()
def check_side(backbone: Backbone, side: int) -> None:
    """Raise UserError if the network of a file does not take images of ``side`` pixels; it looks at an empty one.

    An untrained network was built for its side.
    """
    if backbone.weights == RANDOM:
        return
    try:
        backbone.network(torch.zeros(1, 3, side, side))
    except (AssertionError, RuntimeError, ValueError) as error:
        why = shortened(" ".join(str(error).split()), 120)
        raise UserError(
            f"{backbone.weights} does not take images of {side} pixels ({why}); give another size"
        ) from error


def _of_backbone(content: dict, path: str | Path, layer: str, features: str, drop_path: float) -> Backbone:
    if layer != "backbone":
        raise UserError(f"{path} is a backbone without its {layer}; give the checkpoint.pth beside it")
    seen = content["input"]
    whole = _rebuilt(content, content["state_dict"], path, seen, drop_path=drop_path)
    network, kind = read_out(whole, name_in(content), features)
    return _described(
        content,
        path,
        network,
        features=kind,
        stem=_told(content).get("stem", "imagenet"),
        order=seen["order"],
        mean=tuple(seen["mean"]),
        std=tuple(seen["std"]),
    )


def _of_run(content: dict, path: str | Path, layer: str, features: str) -> Backbone:
    model = content["model"]
    own = {name.removeprefix("backbone."): value for name, value in model.items() if name.startswith("backbone.")}
    network, kind = _rebuilt(content, own, path, {}), ""
    if layer == "projector" or (layer == "embeddings" and not methods.masks_patches(content["method"])):
        network = _with_projector(content, network, path)
    else:
        network, kind = read_out(network, name_in(content), features)
    mean, std = NORMALISATIONS[content["config"]["views"].get("normalisation", "imagenet")]
    stem = _told(content).get("stem", "imagenet")
    return _described(content, path, network, features=kind, stem=stem, mean=mean, std=std)


def _told(content: dict) -> dict:
    """What a file says of its network: ``config.backbone``; empty in the first versions."""
    return content.get("config", {}).get("backbone", {})


def name_in(content: dict) -> str:
    """The name of the network in a file of this suite."""
    return _told(content).get("name") or backbones.USUAL


def _rebuilt(content: dict, state: dict, path: str | Path, seen: dict, *, drop_path: float = 0.0) -> Any:
    try:
        return backbones.rebuilt(state, {**_told(content), "drop_path": drop_path}, seen)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


class TokenFeatures(nn.Module):
    """Features of a ViT: images (B, 3, H, W) -> (B, d), d its width or twice that.

    ``class-token``: of the last block; ``patches``: the mean of its patches; ``class-token+patches``: both, side by
    side; ``last-4-class-tokens``: those of the last four blocks (DINO, arXiv 2104.14294, appendix: linear evaluation
    of ViT-S). All of them behind the last norm.
    """

    def __init__(self, network: Any, kind: str):
        super().__init__()
        self.network, self.kind = network, kind
        self.width = network.width * (4 if kind.startswith("last-4") else len(kind.split("+")))

    def forward(self, images: Tensor) -> Tensor:
        network: Any = self.network
        if self.kind == "last-4-class-tokens":
            blocks = network.forward_intermediates(images, 4, return_prefix_tokens=True, norm=True, output_fmt="NLC")[1]
            return torch.cat([network.fc_norm(prefix[:, 0]) for _, prefix in blocks], dim=1)
        tokens = network.forward_features(images)
        of = {"class-token": tokens[:, 0], "patches": tokens[:, network.num_prefix_tokens :].mean(1)}
        return torch.cat([network.fc_norm(of[part]) for part in self.kind.split("+")], dim=1)


def read_out(network: Any, name: str, features: str) -> tuple[nn.Module, str]:
    """``network``, giving the ``features`` of its family; and their name. UserError where the family has them not."""
    family = backbones.family_of(name)
    kind = family.FEATURES[0] if features == USUAL else features
    if kind not in family.FEATURES:
        raise UserError(f"{name} has no features {kind}; it has: {', '.join(family.FEATURES)}")
    return (network if kind in ("pooled", "class-token") else TokenFeatures(network, kind)), kind


def _described(content: dict, path: str | Path, network: nn.Module, **input_settings) -> Backbone:
    about = {key: content[key] for key in ("method", "recipe", "epochs")}
    about |= {"variant": row_variant(path, content.get("variant", "")), "backbone": name_in(content)}
    about["weights_sha256"] = sha256(path)
    return Backbone(
        network=network,
        about=about,
        weights=str(path),
        seed=content.get("seed", 0),
        step=content.get("step", 0),
        views=content.get("config", {}).get("views") or VIEWS,
        **input_settings,
    )


class _Projected(nn.Module):
    """projector(backbone(x)) of a method's network, under the names the checkpoint has."""

    def __init__(self, backbone: nn.Module, projector: nn.Module):
        super().__init__()
        self.backbone, self.projector = backbone, projector

    def forward(self, images: Tensor) -> Tensor:
        return self.projector(self.backbone(images))


def _with_projector(content: dict, trunk: nn.Module, path: str | Path) -> nn.Module:
    """The method's backbone and projector, rebuilt from the settings and the weights that the checkpoint stores."""
    module = methods.load(content["method"])
    names = {setting.name for setting in dataclasses.fields(module.Config)}
    stored = content["config"]["method"]
    if unknown := sorted(stored.keys() - names):
        raise UserError(f"{path} has method.{unknown[0]}, which this {content['method']} does not know; use its commit")
    network = module.Method(trunk, module.Config(**stored))
    if not hasattr(network, "projector"):
        raise UserError(f"{content['method']} has no projector; give --layer backbone")
    name = "projector."
    weights = {key.removeprefix(name): value for key, value in content["model"].items() if key.startswith(name)}
    try:
        network.projector.load_state_dict(weights)
    except RuntimeError as error:
        why = shortened(" ".join(str(error).split()), 200)
        raise UserError(f"{path} does not hold the projector of its settings: {why}") from error
    return _Projected(network.backbone, network.projector).eval()


@torch.no_grad()
def measure_statistics(
    network: nn.Module, images: Any, *, seed: int, device: torch.device, batches: int = 10, prepare=normalise
) -> None:
    """Set every batch norm to the mean statistics of ``batches`` random batches of 100 images, as PreciseBN does.

    ``images`` gives (uint8 (3, H, W), ...), ``prepare`` makes a batch of them the network's input. Every rank sees the
    same images; the first one's statistics are everyone's.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
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
