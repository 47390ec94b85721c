"""Any network of timm (ConvNeXt, Swin, RegNet, ...): ``timm:NAME``, built without weights; features: pooled outputs."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runtime.command_line import UserError, one_of, shortened

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pretrain.config import BackboneConfig
    from pretrain.networks.backbone import Backbone

TITLE = "timm"
SIGN = re.compile(r"^(stages|layers|blocks|features|stem|layer[1-4])\b")
WHOLE = re.compile(r"(stages|layers)\.0\.(blocks\.)?0\.\w+\.weight$")
REFERENCE = "timm"
PREFIX = "timm:"
NAMES = ("timm:convnext_tiny", "timm:swin_tiny_patch4_window7_224", "timm:regnety_040")
"""Examples; timm has a thousand more."""
FEATURES = ("pooled",)
LAYERS = None


def knows(name: str) -> bool:
    """Whether this module builds the backbone of a name."""
    return name.startswith(PREFIX)


def fault(settings: "BackboneConfig", sides: tuple[int, ...]) -> str | None:
    """Which sides a network takes shows when it is built; settings of the other families are refused."""
    del sides
    if odd := settings.changed("stem", "registers", "layer_scale", "fixed_patch_projection"):
        return f"timm's networks do not read backbone.{odd[0]}; leave it out"
    return None


def build(settings: "BackboneConfig", *, side: int) -> "Backbone":
    """A fresh network. Raises UserError for a name timm does not have and for images of a side it does not take."""
    import torch

    name = settings.name.removeprefix(PREFIX)
    network = _pooled(name, settings.drop_path)
    with torch.no_grad(), torch.random.fork_rng():
        try:
            shape = tuple(network.eval()(torch.zeros(1, 3, side, side)).shape)
        except (AssertionError, RuntimeError, ValueError) as error:
            why = shortened(" ".join(str(error).split()), 120)
            raise UserError(f"{settings.name} does not take images of {side} pixels ({why})") from error
    if shape != (1, network.width):
        raise UserError(f"{settings.name} gives outputs of shape {list(shape)} instead of pooled features")
    return network.train()


def rebuilt(state: Mapping[str, "Tensor"], told: Mapping[str, Any], seen: Mapping[str, Any]) -> "Backbone":
    """The network ``told["name"]`` around the tensors. Raises UserError where they are not that network's."""
    del seen
    network = _pooled(str(told["name"]).removeprefix(PREFIX), told.get("drop_path", 0.0))
    own = network.state_dict()
    held = {name: value for name, value in state.items() if name in own}
    try:
        network.load_state_dict(held)
    except RuntimeError as error:
        raise UserError(f"it is not {told['name']}: {shortened(' '.join(str(error).split()), 200)}") from error
    return network.eval()


def _pooled(name: str, drop_path: float) -> Any:
    """The network without its classifier, with its ``width``; one without stochastic depth is not asked for it."""
    options = {"drop_path_rate": drop_path} if drop_path else {}
    network: Any = any_size(name, num_classes=0, **options)
    network.width = getattr(network, "head_hidden_size", network.num_features)
    return network


def any_size(name: str, **options: Any) -> "nn.Module":
    """timm's network of that name without weights, for images of any size where it can.

    Raises UserError for an unknown name and for odd ``options``.
    """
    import timm

    one_of("network of timm", name, timm.list_models() if not timm.is_model(name) else [name])
    try:
        return timm.create_model(name, pretrained=False, strict_img_size=False, **options)
    except TypeError as error:  # it is for the networks with windows only
        if "strict_img_size" not in str(error):
            raise UserError(f"timm:{name}: {error}") from error
    try:
        return timm.create_model(name, pretrained=False, **options)
    except TypeError as error:
        raise UserError(f"timm:{name}: {error}") from error
