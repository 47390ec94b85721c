"""What a command knows, read from the text of its files: importing them would bring torch, which takes seconds and
which a login node may not have. tests/slurm/test_known.py holds it against the commands themselves.
"""

import ast
import dataclasses
import functools
import importlib.util
import re
import typing
from pathlib import Path

from runtime.provenance import ROOT
from slurm.planning.fingerprint import reads

NUMBERS = {"int": int, "float": float}


def options(module: str) -> dict[str, type]:
    """Option -> what its value has to be (``str``, where that is not a number), of a command; without the bare flags.

    Empty for a module that is not there.
    """
    found: dict[str, type] = {}
    for path in files_of(module):
        tree = parsed(path)
        strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        names = [value for value in strings if isinstance(value, str) and re.fullmatch("--[a-z][a-z-]*", value)]
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args and is_option(node.func)]
        told = {call.args[0].value: call for call in calls if isinstance(call.args[0], ast.Constant)}
        for name in names:
            words = {word.arg: word.value for word in told[name].keywords} if name in told else {}
            if "action" not in words:
                kind = words.get("type")
                found[name.removeprefix("--")] = NUMBERS.get(kind.id, str) if isinstance(kind, ast.Name) else str
    return found


def is_option(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr == "add_argument"


def files_of(module: str) -> list[Path]:
    """The file of a command, and those it imports that give a parser options without being commands themselves."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # of the package that it would be in
        spec = None
    if spec is None or spec.origin is None:
        return []
    path = Path(spec.origin)
    shared = [
        other
        for other in reads(path)
        if "add_argument(" in (text := other.read_text("utf-8")) and "def main(" not in text
    ]
    return [path, *shared]


@functools.cache
def settings_class(path: Path, name: str) -> type:
    """A dataclass of settings, with those it consists of; of their files nothing else is run."""
    tree = parsed(path)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    imports = {
        alias.name: ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    scope = {"dataclass": dataclasses.dataclass, "field": dataclasses.field, "typing": typing, "__name__": path.stem}
    for other in {node.id for node in ast.walk(classes[name]) if isinstance(node, ast.Name)} - scope.keys():
        if other in classes:
            scope[other] = settings_class(path, other)
        elif other in imports:
            scope[other] = settings_class(imports[other], other)
    exec(compile(ast.Module([classes[name]], []), str(path), "exec"), scope)
    return scope[name]


@functools.cache
def detection_settings() -> frozenset[str]:
    """The settings of Detectron2 and those under TRANSFER; empty where Detectron2 is not installed."""
    spec = importlib.util.find_spec("detectron2")
    if spec is None:
        return frozenset()
    theirs = Path(spec.origin).parent / "config" / "defaults.py"
    ours = ROOT / "transfer" / "detection" / "protocol.py"
    return frozenset(key for path in (theirs, ours) for key in assigned(parsed(path)))


def assigned(tree: ast.Module) -> list[str]:
    """``_C.SOLVER.AMP = CN({"ENABLED": False})`` -> SOLVER.AMP.ENABLED; ``_C.SOLVER = CN()`` is a group, no setting."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            key = ast.unparse(node.targets[0]).partition(".")[2]
            group = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in ("CN", "CfgNode")
            found += members(key, node.value.args[0] if group and node.value.args else None) if group else [key]
    return found


def members(key: str, values: ast.expr | None) -> list[str]:
    return [f"{key}.{word.value}" for word in values.keys] if isinstance(values, ast.Dict) else []


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
