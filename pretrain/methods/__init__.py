"""The self-supervised methods: this folder is the registry, a file is a method, its name is the option.

A file holds a ``Config``, a ``RECIPE`` and a ``Method(backbone, config)``. The class may say ``takes_views = (fewest,
most)``, if that is not two (most is None where there is no limit), and ``learns_from_labels = True``, if its loss reads
labels; then it has ``classes``, the number of classes of its images.
"""

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runtime.command_line import one_of

if TYPE_CHECKING:
    from torch import Tensor  # the list of methods is read where nobody waits for torch

FOLDER = Path(__file__).parent


class Embeddings(NamedTuple):
    """What a network makes of the views, and all a loss may see: one (B, D) float32 tensor per view in each tuple."""

    online: tuple
    target: tuple
    labels: "Tensor | None" = None
    """(B,) class numbers, for a method that learns from labels; the loop puts them in."""


def available() -> list[str]:
    """The names of the methods."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def load(name: str):
    """The module of a method: its ``Config``, ``Method`` and ``RECIPE``. UserError lists the known ones."""
    one_of("method", name, available())
    return importlib.import_module(f"{__name__}.{name}")


def title(name: str) -> str:
    """The display name: the docstring's first words, up to the colon."""
    return ast.get_docstring(_parsed(name)).split(":")[0]


def learns_from_labels(name: str) -> bool:
    """Whether its ``Method`` says so."""
    method = next(node for node in _parsed(name).body if isinstance(node, ast.ClassDef) and node.name == "Method")
    said = {ast.unparse(node) for node in method.body if isinstance(node, ast.Assign)}
    return "learns_from_labels = True" in said


def _parsed(name: str) -> ast.Module:
    """A method's file, read and not imported: nobody shall wait for torch."""
    one_of("method", name, available())
    return ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
