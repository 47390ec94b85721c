"""The self-supervised methods: this folder is the registry, a file is a method, its name is the option."""

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pretrain.command_line import one_of

if TYPE_CHECKING:
    from torch import Tensor  # the list of methods is read where nobody waits for torch

FOLDER = Path(__file__).parent


class Embeddings(NamedTuple):
    """What a network makes of the views, and all a loss may see: one (B, D) float32 tensor per view in each tuple."""

    online: tuple
    target: tuple
    labels: "Tensor | None" = None
    """(B,) class numbers, for a method that has ``classes``; the loop puts them in."""


def available() -> list[str]:
    """The names of the methods."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def load(name: str):
    """The module of a method: its ``Config``, ``Method`` and ``RECIPE``. UserError lists the known ones."""
    one_of("method", name, available())
    return importlib.import_module(f"{__name__}.{name}")


def title(name: str) -> str:
    """The display name: the docstring's first words, up to the colon. Reads the file without importing it."""
    one_of("method", name, available())
    return ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))).split(":")[0]
