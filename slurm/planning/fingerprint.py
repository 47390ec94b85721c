"""A hash of the code that a job can reach, so that finished work of other code is noticed.

It follows imports, file by file. A hash of whole packages would be shorter, but then any commit would make all finished
work that of other code, and --redo would repeat a month of pretraining for a change of another method.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from runtime.provenance import PACKAGES, ROOT


class File(NamedTuple):
    """A file of the packages."""

    hash: str
    """Of Python, of what it does: without comments, docstrings and layout."""

    reads: tuple[Path, ...]
    """The files of the packages that it imports, wherever in it, or stands on (``_BASE_`` of a yaml)."""


def code_of(module: str, argv: Sequence[str]) -> str:
    """Hash of the code that a command can reach: its module's imports, and the files that its arguments name.

    ``--method simclr`` names pretrain/methods/simclr.py, ``--protocol demo-fpn`` its yaml.
    """
    return hash_of(module, tuple(named(word.rpartition("=")[2] for word in argv)))


@functools.cache
def hash_of(module: str, chosen: tuple[Path, ...]) -> str:
    """Hash of the code of a module and of the files that it chooses by name."""
    paths = sorted(reached(module, chosen))
    lines = "".join(f"{path.relative_to(ROOT)} {read(path).hash}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def reached(module: str, chosen: Iterable[Path]) -> set[Path]:
    """The files that a module and the ``chosen`` files lead to."""
    files: set[Path] = set()
    todo = [*paths_of(module), *chosen]
    while todo:
        path = todo.pop()
        if path not in files:
            files.add(path)
            todo += read(path).reads
    return files


@functools.cache
def read(path: Path) -> File:
    """A file as far as the fingerprint needs it."""
    content = path.read_bytes()
    if path.suffix != ".py":
        bases = re.findall(rb"^_BASE_:\s*(\S+)", content, re.MULTILINE)
        paths = [base for name in bases if (base := path.parent / name.decode()).exists()]
        return File(hash=hashlib.sha256(content).hexdigest(), reads=tuple(paths))
    tree = ast.parse(content)
    names = dict.fromkeys(imported(tree))
    reads = tuple(path for name in names for path in paths_of(name))
    without_texts(tree)
    return File(hash=hashlib.sha256(ast.dump(tree).encode()).hexdigest(), reads=reads)


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module that a file may import, and every name that may be one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


@functools.cache
def paths_of(module: str) -> tuple[Path, ...]:
    """The file of a module of ours, and those of the packages around it; none for another's."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return ()
    around = [ROOT.joinpath(*parts[:k], "__init__.py") for k in range(1, len(parts) + 1)]
    return tuple(path for path in [*around, ROOT.joinpath(*parts).with_suffix(".py")] if path.exists())


def named(words: Iterable[str]) -> list[Path]:
    """Files in the packages' folders of choices (methods, recipes, protocols) whose name is one of ``words``."""
    return [path for word in sorted(set(words) & choices().keys()) for path in choices()[word]]


@functools.cache
def choices() -> dict[str, list[Path]]:
    """Name -> the files in the packages' folders that have it."""
    by_name: dict[str, list[Path]] = {}
    for path in (path for package in PACKAGES for path in (ROOT / package).glob("*/*")):
        if path.suffix in (".py", ".yaml"):
            by_name.setdefault(path.stem, []).append(path)
    return by_name


def without_texts(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Remove the docstrings of a module, and of all classes and functions that stand in it."""
    node.body = [line for line in node.body if not is_text(line)]
    for line in node.body:
        if isinstance(line, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            without_texts(line)


def is_text(line: ast.stmt) -> bool:
    """Whether a statement is a docstring."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
