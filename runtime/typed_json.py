"""Small json files of our own, each read as one dataclass: absent is None, damaged is one line with the remedy."""

import codecs
import functools
import os
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path

from runtime.command_line import UserError
from runtime.read import JSON_BYTES, parse_json

Record = typing.TypeVar("Record")


def read(path: str | Path, kind: type[Record], remedy: str) -> Record | None:
    """The record in a json file; None if there is none. Raises UserError, with the remedy, for a damaged one."""
    content = read_json(path, remedy)
    return None if content is None else parse(kind, content, where=str(path), remedy=remedy)


def read_json(path: str | Path, remedy: str):
    """The content of a json file; None if there is none. It may go at any moment, so it is opened without a look."""
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read() if size <= JSON_BYTES else b""
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if size > JSON_BYTES:
        raise UserError(f"{path} holds more than {JSON_BYTES >> 20} MiB; {remedy}")
    value = parse_json(content.removeprefix(codecs.BOM_UTF8), path, remedy=remedy)
    if value is None:
        raise UserError(f"{path} holds null; {remedy}")
    return value


def parse(kind: type[Record], content, *, where: str, remedy: str, given: Mapping = {}) -> Record:
    """``content`` as a record; unknown keys are ignored. Raises UserError for a missing or mistyped field."""
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected a json object, found {type(content).__name__}; {remedy}")
    values = dict(given)
    for name, hint, required in _fields(kind):
        if name in values:
            continue
        if name not in content:
            if required:
                raise UserError(f"{where}: {name} is missing; {remedy}")
            continue
        try:
            values[name] = _typed(content[name], hint)
        except (TypeError, OverflowError):  # the latter for a number beyond the floats
            found = f"{content[name]!r:.60}"
            raise UserError(f"{where}: {name} is {found}, expected {_name(hint)}; {remedy}") from None
    return kind(**values)


@functools.cache
def _fields(kind: type) -> list[tuple[str, typing.Any, bool]]:
    hints = typing.get_type_hints(kind)
    return [(f.name, hints[f.name], f.default is MISSING and f.default_factory is MISSING) for f in fields(kind)]


def _name(hint) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _typed(value, hint):
    """A json value as the type of a field. Raises TypeError."""
    if hint is float and type(value) is int:
        return float(value)
    if hint == tuple[str, ...] and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if hint == dict[str, str] | None and isinstance(value, dict):
        return {str(key): str(item) for key, item in value.items()}
    if typing.get_args(hint) and type(None) in typing.get_args(hint):
        return value if value is None else _typed(value, typing.get_args(hint)[0])
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise TypeError
