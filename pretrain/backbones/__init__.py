"""The networks that are pretrained and handed over: this folder is the registry, a file is a family.

A family's file says, without importing torch:

    TITLE            its name in messages and tables, which is also what a converter's formats call it
    NAMES            the networks that it builds by name; examples where there are more than a list holds
    SIGN, WHOLE      expressions: how its tensors' names begin; the name that only a whole network of it has
    REFERENCE        whose network a converted one is compared with
    knows(name)      whether it builds the network of that name
    fault(settings, sides)    why it cannot build ``settings`` for images of these sides, in a clause; None if it can

and has, with torch:

    build(settings, side)              a fresh network from torch's generator; images (B, 3, H, W) -> (B, ``width``)
    rebuilt(state, told, seen)         the network around the tensors of a file, in inference mode
    FEATURES                           what an image's features can be, the usual one first
    LAYERS                             expressions of its tensors' names, first layer first, as timm's group_matcher has
                                       them, for rates that differ by layer; None: the network's own

A converter for the family stands in transfer/checkpoints/renaming under the same name.
"""

import functools
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.command_line import UserError, listed, shortened

if TYPE_CHECKING:  # the command line knows the names where torch is not
    from pretrain.config import BackboneConfig
    from pretrain.networks.backbone import Backbone

FOLDER = Path(__file__).parent

USUAL = "resnet50"
"""The network of a run, and of a file, that names none."""


@functools.cache
def families() -> dict[str, Any]:
    """The families' modules by their file names, ResNets first."""
    files = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    return {name: importlib.import_module(f"{__name__}.{name}") for name in sorted(files, key="resnet".__ne__)}


def names() -> list[str]:
    """What ``backbone.name`` can be; of a family with too many members, examples."""
    return [name for family in families().values() for name in family.NAMES]


def family_of(name: str) -> Any:
    """The module of the family that builds the network ``name``. Raises UserError that lists the nearest ones."""
    for family in families().values():
        if family.knows(name):
            return family
    raise UserError(f"unknown backbone {shortened(repr(name), 60)}; known: any timm:NAME, {listed(name, names())}")


def check(settings: "BackboneConfig", sides: Iterable[int]) -> None:
    """Raise UserError if there is no such network, or none for square images of these ``sides``, pixels."""
    if fault := family_of(settings.name).fault(settings, tuple(sides)):
        raise UserError(f"backbone.name={settings.name}: {fault}")


def build(settings: "BackboneConfig", *, side: int) -> "Backbone":
    """A fresh network for images of ``side`` pixels, its weights drawn by torch's generator. UserError as `check`."""
    check(settings, [side])
    return family_of(settings.name).build(settings, side=side)


def untrained(name: str = USUAL, *, seed: int, side: int = 224, drop_path: float = 0.0) -> "Backbone":
    """The network of a seed before any training, residual branches of a ResNet included: the from-scratch row."""
    import torch

    from pretrain.config import BackboneConfig

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        settings = BackboneConfig(name=name, zero_init_residual=False, drop_path=drop_path)
        return build(settings, side=side)


def rebuilt(state: Mapping[str, Any], told: Mapping[str, Any], seen: Mapping[str, Any]) -> "Backbone":
    """The network that the tensors ``state`` (its family's names) are of, in inference mode.

    Args:
        told: ``config.backbone`` of the file: ``name``, and what else no tensor shows; ``drop_path`` of its use.
        seen: ``input`` of the file.

    Raises UserError, in a clause without the file's name, where they are of no such network.
    """
    return family_of(str(told.get("name") or USUAL)).rebuilt(state, told, seen)
