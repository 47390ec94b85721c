"""Settings from texts: recipe files and KEY=VALUE put over a dataclass of defaults, and all that does not fit named.

No torch here: whoever submits a job checks its settings without waiting for it.
"""

import dataclasses
import types
import typing
from pathlib import Path

import yaml

from runtime import limits
from runtime.command_line import UserError
from runtime.provenance import ROOT, as_submitted

RECIPES = ROOT / "pretrain" / "recipes"


def read_recipe(recipe: str, method: str) -> list[tuple[str, dict]]:
    """The layers of a recipe file: what it says for every method, then what it says ``for`` this one."""
    path = RECIPES / f"{recipe}.yaml"
    if not path.is_file():
        path = Path(recipe)
    if not (path.suffix in (".yaml", ".yml") and as_submitted(path).is_file()):
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise UserError(f"unknown recipe {recipe!r}; known: {known}, or the path of a yaml file")
    try:
        values = yaml.safe_load(as_submitted(path).read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not yaml: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds a {type(values).__name__}, not settings like 'epochs: 100'")
    own = (values.pop("for", None) or {}).get(method, {})
    return [(str(path), values), (f"{path} (for {method})", own)]


def parse_pairs(pairs: list[str]) -> dict:
    """``["optim.lr=0.5"]`` -> ``{"optim": {"lr": 0.5}}``."""
    nested: dict = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UserError(f"settings are given as KEY=VALUE, got {pair!r}")
        *parents, leaf = key.split(".")
        inner = nested
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise UserError(f"{key} and {parent} are both given, and one lies inside the other")
        try:
            inner[leaf] = yaml.safe_load(text)
        except yaml.YAMLError:
            inner[leaf] = text
    return nested


def updated(config, values: dict, source: str):
    """A copy of a settings dataclass with nested ``values`` put in, which ``source`` says.

    Raises UserError naming every unknown key (with the known ones), every value of the wrong type, and every number
    outside its limits (`runtime.limits`).
    """
    faults: list[str] = []
    config = _updated(config, values, "", faults)
    if faults:
        raise UserError(f"{source}: " + "; ".join(faults))
    return config


def _updated(config, values: dict, prefix: str, faults: list[str]):
    """A copy of a settings dataclass with nested ``values`` put in; what does not fit goes to ``faults``."""
    hints = typing.get_type_hints(type(config))
    changes = {}
    for key, value in values.items():
        if key not in hints:
            faults.append(f"unknown setting {prefix + str(key)!r}; known: {', '.join(prefix + k for k in hints)}")
        elif dataclasses.is_dataclass(current := getattr(config, key)):
            if isinstance(value, dict):
                changes[key] = _updated(current, value, f"{prefix}{key}.", faults)
            else:
                faults.append(f"{prefix}{key} is a group of settings, not a value")
        else:
            try:
                changes[key] = _coerced(value, hints[key])
                if fault := limits.fault(prefix + key, changes[key]):
                    faults.append(fault)
            except (TypeError, ValueError):
                kind = str(hints[key]) if typing.get_args(hints[key]) else hints[key].__name__
                faults.append(f"{prefix}{key} must be {kind}, got {value!r}")
    return dataclasses.replace(config, **changes)


def _coerced(value, hint):
    """``value`` as the annotated type. YAML reads 1e-5 as a string and 1 as an int; both are fine for a float."""
    if isinstance(hint, types.UnionType):
        if value is None or value == "none":
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if typing.get_origin(hint) is list and isinstance(value, list):
        return [_coerced(entry, *typing.get_args(hint)) for entry in value]
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    if type(value) is not hint:
        raise TypeError
    return value


def flat(config, prefix: str = "") -> dict[str, typing.Any]:
    """Every setting under its dotted key."""
    if isinstance(config, dict):
        items = config.items()
    else:
        items = ((f.name, getattr(config, f.name)) for f in dataclasses.fields(config))
    result = {}
    for key, value in items:
        if isinstance(value, dict) or dataclasses.is_dataclass(value):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = value
    return result
