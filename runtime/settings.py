"""Settings: dataclasses of defaults, with yaml files and KEY=VALUE put over them; all that does not fit is named.

A field's limits stand beside it:

    lr: float = field(default=0.5, metadata=NOT_NEGATIVE)
    name: str = field(default="sgd", metadata=choice("sgd", "lars"))

No torch here: whoever submits a job checks its settings without waiting for it.
"""

import ast
import dataclasses
import functools
import inspect
import math
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from runtime.command_line import Faults, listed, shortened, words
from runtime.read import read_yaml

C = TypeVar("C")

GREATEST, SMALLEST = sys.float_info.max, sys.float_info.min

MOST_INT = 2**63 - 1
"""Largest whole number: beyond it neither torch nor numpy has an integer."""

KINDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Limit(NamedTuple):
    """Between which values a number may lie, both included."""

    text: str
    """The limit in words, as in "must be <text>"."""
    least: float
    most: float


def limit(text: str, least: float, most: float = GREATEST) -> dict[str, Limit]:
    """Metadata of a field: its numbers lie between ``least`` and ``most``; ``text`` says so, "must be <text>"."""
    return {"limit": Limit(text, least, most)}


def choice(*names: str) -> dict[str, tuple[str, ...]]:
    """Metadata of a field: its text is one of ``names``."""
    return {"choices": names}


AT_LEAST_1 = limit("at least 1", 1)
NOT_NEGATIVE = limit("0 or more", 0)
ABOVE_0 = limit("above 0", SMALLEST)
SHARE = limit("from 0 to 1", 0, 1)
SHARE_ABOVE_0 = limit("above 0, at most 1", SMALLEST, 1)
WORKERS = limit("-1 (by the cores), 0 or more", -1)
BELOW_1 = limit("from 0 to below 1", 0, 1 - sys.float_info.epsilon)


class Text(str):
    """A value as it was typed on a command line: the type of its setting decides how it is read."""


def parse_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """``["optim.lr=0.5"]`` -> ``{"optim": {"lr": Text("0.5")}}``. Raises UserError naming every pair that is none."""
    nested: dict[str, Any] = {}
    faults = Faults()
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            faults.append(f"settings are given as KEY=VALUE, got {pair!r}")
            continue
        *parents, leaf = key.split(".")
        inner: Any = nested
        for parent in parents:
            inner = inner.setdefault(parent, {}) if isinstance(inner, dict) else inner
        if not isinstance(inner, dict) or isinstance(inner.get(leaf), dict):
            faults.append(f"{key} and a setting that it lies in, or that lies in it, are both given; leave one out")
            continue
        inner[leaf] = Text(text)
    faults.check()
    return nested


def updated(config: C, values: Any, source: object) -> C:
    """A copy of a settings dataclass with the nested ``values`` put in, which ``source`` gives.

    Raises UserError naming every unknown key (with the known ones), every value of another type than its field's, and
    every one outside its limits.
    """
    return _Fit(source).checked(type(config), values, config)


def from_mapping(cls: type[C], values: Any, source: object) -> C:
    """A new ``cls`` of the nested ``values``. Raises UserError as `updated` does, and for a field that is missing."""
    return _Fit(source).checked(cls, values, None)


def load_dataclass(path: str | Path, cls: type[C]) -> C:
    """The settings dataclass ``cls`` that a yaml file holds; an empty file is all defaults.

    Raises UserError as `runtime.read.read_yaml` and `from_mapping` do.
    """
    values = read_yaml(path)
    return from_mapping(cls, {} if values is None else values, path)


class _Fit:
    """Fits plain values to the types of fields; what does not fit is collected."""

    def __init__(self, source: object):
        self.source, self.faults = source, Faults()

    def checked(self, cls: type[C], values: Any, current: C | None) -> C:
        config = self.dataclass(cls, values, "", current)
        self.faults.check()
        return config

    def fault(self, text: str) -> None:
        self.faults.append(f"{self.source}: {text}")

    def dataclass(self, cls: type, values: Any, name: str, current: Any) -> Any:
        """A ``cls`` of ``values`` over ``current``, or over the defaults; None where a field has neither."""
        if not isinstance(values, Mapping):
            what = f"{name} is a group of settings, not" if name else "expected settings like 'epochs: 100', got"
            self.fault(f"{what} {_shown(values)}")
            return current
        prefix = f"{name}." if name else ""
        fields, hints = _fields(cls), _hints(cls)
        changes = {}
        for key, value in values.items():
            if key not in fields:
                wrong, known = f"{prefix}{shortened(str(key)[:200], 60)}", [f"{prefix}{name}" for name in fields]
                self.fault(f"unknown setting {wrong!r}; known: {listed(wrong, known)}")
                continue
            before = getattr(current, key, None)
            hint = type(before) if dataclasses.is_dataclass(before) else hints[key]
            changes[key] = self.value(value, hint, f"{prefix}{key}", before, fields[key].metadata)
        if current is not None:
            return dataclasses.replace(current, **changes)
        missing = [
            f.name
            for f in fields.values()
            if f.name not in changes and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        for lacking in missing:
            self.fault(f"{prefix}{lacking} is not given")
        return None if missing else cls(**changes)

    def value(self, value: Any, hint: Any, name: str, current: Any, metadata: Mapping) -> Any:
        """``value`` as the annotated type."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (types.UnionType, typing.Union):
            if value is None or value in ("none", "null", "~"):
                return None
            inner = [argument for argument in arguments if argument is not type(None)]
            return self.value(value, inner[0], name, current, metadata)
        if dataclasses.is_dataclass(hint):
            return self.dataclass(typing.cast(type, hint), value, name, current)
        if hint is Any:
            return str(value) if isinstance(value, Text) else value
        if origin in (list, tuple):
            entries = [Text(word) for word in words(value.strip("[]()"))] if isinstance(value, Text) else value
            if isinstance(entries, (list, tuple)):
                return origin(self.value(entry, arguments[0], name, None, metadata) for entry in entries)
            self.fault(f"{name} must be a list, got {_shown(value)}")
        elif origin is dict:
            if isinstance(value, Mapping):
                if odd := [key for key in value if not isinstance(key, str)]:
                    self.fault(f"{name}: the name {_shown(odd[0])} is no text; put it in quotes")
                return {key: self.value(v, arguments[1], f"{name}.{key}", None, metadata) for key, v in value.items()}
            self.fault(f"{name} must be a group like 'name: value', got {_shown(value)}")
        else:
            return self.scalar(value, hint, name, metadata)
        return current

    def scalar(self, value: Any, kind: type, name: str, metadata: Mapping) -> Any:
        try:
            value = _typed(value, kind) if isinstance(value, Text) else _plain(value, kind)
        except (TypeError, ValueError, OverflowError):
            hint = "; put it in quotes" if kind is str else ""
            self.fault(f"{name} must be {KINDS.get(kind, kind.__name__)}, got {_shown(value)}{hint}")
            return value
        bounds, choices = metadata.get("limit"), metadata.get("choices")
        if isinstance(value, (int, float)) and bounds and not bounds.least <= value <= bounds.most:
            self.fault(f"{name} must be {bounds.text}, got {_shown(value)}")
        elif isinstance(value, float) and not math.isfinite(value):
            self.fault(f"{name} must be {KINDS[float]}, got {value}")
        elif type(value) is int and abs(value) > MOST_INT:
            self.fault(f"{name} must be a whole number below 2^63, got {_shown(value)}")
        elif choices and value not in choices:
            self.fault(f"{name} must be one of {', '.join(choices)}, got {_shown(value)}")
        return value


def _typed(text: str, kind: type) -> Any:
    """What a text of a command line is as a ``kind``; a text is taken as it is."""
    if kind is str:
        return str(text)
    if kind is bool:
        return BOOLEANS[text.lower()] if text.lower() in BOOLEANS else _no_value()
    if not text.isascii() or "_" in text:
        raise ValueError
    if kind is int and not re.fullmatch(r"[+-]?\d{1,40}", text):
        raise ValueError
    return kind(text)


def _plain(value: Any, kind: type) -> Any:
    """A value of a yaml file as a ``kind``. YAML reads 1e-5 as a text and 1 as an int; both are fine for a float."""
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise TypeError
    return value


def _no_value() -> typing.NoReturn:
    raise ValueError


def _shown(value: Any) -> str:
    """A value in an error line; the repr of a long one is cut before it is made where that can be long."""
    if isinstance(value, str):
        return shortened(repr(str(value)[:200]), 80)
    if isinstance(value, (list, tuple, dict, set)):
        return f"a {type(value).__name__} of {len(value)}"
    return shortened(repr(value), 80) if not isinstance(value, int) or abs(value) <= MOST_INT else "a longer one"


@functools.cache
def _fields(cls: type) -> dict[str, dataclasses.Field]:
    return {f.name: f for f in dataclasses.fields(cls)}


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting of a dataclass, or of a dict of dicts, under its dotted key."""
    items = config.items() if isinstance(config, Mapping) else vars(config).items()
    result = {}
    for key, value in items:
        if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
            result.update(flat(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = value
    return result


def describe(config: Any, prefix: str = "") -> str:
    """Every setting of a dataclass with its default and its sentence, for --help."""
    sentences = _sentences(type(config))
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            lines.append(describe(value, f"{prefix}{field.name}."))
            continue
        text = f"{sentences[field.name]} (default: {'none' if value is None else repr(value)})"
        paragraph = textwrap.fill(text, 100, initial_indent="      ", subsequent_indent="      ")
        lines.append(f"  {prefix}{field.name}\n{paragraph}")
    return "\n".join(lines)


def _sentences(cls: type) -> dict[str, str]:
    """The string under each field of a dataclass, inherited ones too; a field without one is a mistake of ours."""
    found = _sentences(base) if dataclasses.is_dataclass(base := cls.__base__) else {}
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    for statement, after in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[statement.target.id] = " ".join(str(after.value.value).split())
    return found
