"""The self-supervised methods: this folder is the registry, a file is a method, its name is the option.

A method is two files. NAME.py holds the loss and the ``Method(backbone, config)``, with torch. settings/NAME.py holds
what the command line needs to know of it, without torch: see its package. A method that learns from labels has
``classes``, the number of classes of its images.
"""

import functools
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime.command_line import one_of

if TYPE_CHECKING:
    from torch import Tensor  # the list of methods is needed where torch is not

FOLDER = Path(__file__).parent


class Embeddings(NamedTuple):
    """What a network makes of the views, and all a loss may see: one (B, D) float32 tensor per view in each tuple.

    A masked auto-encoder gives two of its one view: class tokens, and the error of each image, (B, 1).
    """

    online: tuple
    target: tuple
    labels: "Tensor | None" = None
    """(B,) class numbers, for a method that learns from labels; the loop puts them in."""


@functools.cache
def available() -> tuple[str, ...]:
    """The names of the methods."""
    return tuple(sorted(path.stem for path in (FOLDER / "settings").glob("*.py") if path.stem != "__init__"))


def load(name: str) -> Any:
    """The module of a method, with ``Method`` and ``Config``. Raises UserError that lists the known ones."""
    one_of("method", name, available())
    return importlib.import_module(f"{__name__}.{name}")


def settings_of(name: str) -> Any:
    """The settings module of a method, imported without torch. Raises UserError that lists the known ones."""
    one_of("method", name, available())
    return importlib.import_module(f"{__name__}.settings.{name}")


def title(name: str) -> str:
    """The name of a method in tables."""
    return settings_of(name).TITLE


def learns_from_labels(name: str) -> bool:
    """Whether the loss of a method reads labels."""
    return settings_of(name).LEARNS_FROM_LABELS


def masks_patches(name: str) -> bool:
    """Whether the network of a method takes, beside the views, the keys of the images, from which it draws masks."""
    return getattr(settings_of(name), "MASKS_PATCHES", False)


def takes_views(name: str) -> tuple[int, int | None]:
    """The fewest and the most views of an image that a method takes; None where there is no limit."""
    return getattr(settings_of(name), "TAKES_VIEWS", (2, 2))


def check_settings(name: str, config: Any, batch_size: int) -> None:
    """Raise UserError if settings of a method do not go together, or with the global batch."""
    module = settings_of(name)
    if hasattr(module, "check"):
        module.check(config, batch_size)
