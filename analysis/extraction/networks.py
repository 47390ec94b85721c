"""The network whose features are looked at: an exported backbone, a checkpoint's, or an untrained one."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from pretrain import methods
from pretrain.backbones import resnet
from pretrain.checkpoints import checkpoint
from pretrain.checkpoints.retention import variant_at
from pretrain.data import views
from runtime.command_line import UserError
from runtime.files import sha256
from transfer.classification.frozen_backbone import measure_statistics

__all__ = ["Network", "load", "measure_statistics"]

VIEWS = {"recipe": "asymmetric", "min_scale": 0.2}  # random views for a network that never saw any


@dataclass(frozen=True)
class Network:
    """A network in eval mode with what is known of it."""

    module: nn.Module
    """Normalised images (b, 3, H, W) -> features (b, d)."""
    about: dict
    """Plain values: the run (method, recipe, variant, epochs, seed, step) and weights_sha256."""
    views: dict
    """The settings of the views it was trained with."""
    normalise: Callable[[Tensor], Tensor]
    """uint8 images -> the network's input."""


def load(path: str, layer: str = "backbone", *, seed: int = 0) -> Network:
    """The network in ``path``: a backbone.pth, a checkpoint.pth, or ``random``, the untrained one of a seed.

    Raises UserError for another file, and for the projector of a file that has none.
    """
    if path == "random":
        if layer != "backbone":
            raise UserError(f"the untrained network has no {layer}; give --layer backbone")
        about = {"method": "random", "recipe": "", "variant": "", "epochs": 0, "seed": seed, "step": 0}
        normalise = functools.partial(views.normalise)
        return Network(resnet.random_resnet50(seed).eval(), {**about, "weights_sha256": ""}, VIEWS, normalise)
    content = checkpoint.read(path)
    if content.get("format") == checkpoint.BACKBONE:
        if layer != "backbone":
            raise UserError(f"{path} is a backbone without its {layer}; give the checkpoint.pth beside it")
        module, weights = _trunk(content), content["state_dict"]
        normalise = functools.partial(views.normalise, mean=content["input"]["mean"], std=content["input"]["std"])
    elif content.get("format") == checkpoint.CHECKPOINT:
        weights = content["model"]
        module = _with_projector(content, path) if layer == "projector" else _trunk(content)
        parts = ("backbone.", "projector.") if layer == "projector" else ("backbone.",)
        cut = 0 if layer == "projector" else len("backbone.")
        weights = {name[cut:]: value for name, value in weights.items() if name.startswith(parts)}
        mean, std = views.NORMALISATIONS[content["config"]["views"].get("normalisation", "imagenet")]
        normalise = functools.partial(views.normalise, mean=mean, std=std)
    else:
        raise UserError(f"{path} is neither a backbone.pth nor a checkpoint.pth of this suite; convert or retrain")
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit its own network: {' '.join(str(error).split())[:200]}") from error
    about = {key: content.get(key, "") for key in ("method", "recipe", "variant", "epochs", "seed")}
    # The step is what tells the checkpoints of one run apart; a finished backbone has none.
    about |= {"step": content.get("step", 0), "variant": variant_at(path, about["variant"])}
    about |= {"weights_sha256": sha256(path)}
    return Network(module.eval(), about, content["config"]["views"], normalise)


def _trunk(content: dict) -> nn.Module:
    return resnet.resnet50(stem=content["config"]["backbone"]["stem"])


class _Projected(nn.Module):
    """projector(backbone(x)) of a method's network, under the names the checkpoint has."""

    def __init__(self, backbone: nn.Module, projector: nn.Module):
        super().__init__()
        self.backbone, self.projector = backbone, projector

    def forward(self, images: Tensor) -> Tensor:
        return self.projector(self.backbone(images))


def _with_projector(content: dict, path: str) -> nn.Module:
    """The method's backbone and projector, rebuilt from the settings the checkpoint stores."""
    module = methods.load(content["method"])
    known = {field.name for field in dataclasses.fields(module.Config)}
    stored = content["config"]["method"]
    if unknown := sorted(stored.keys() - known):
        raise UserError(f"{path} has method.{unknown[0]}, which this {content['method']} does not know; use its commit")
    network = module.Method(_trunk(content), module.Config(**stored))
    if not hasattr(network, "projector"):
        raise UserError(f"{content['method']} has no projector; give --layer backbone")
    return _Projected(network.backbone, network.projector)
