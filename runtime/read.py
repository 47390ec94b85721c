"""Files from outside, read once: text, JSON, JSON lines and YAML, with limits, or a UserError of one line.

Each reader accepts a byte order mark. An error names the file, the place in it and what to do.
"""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from runtime.command_line import UserError, shortened

JSON_BYTES = 64 << 20
"""Most bytes of a json file that a run writes; readers of data sets allow more."""

YAML_BYTES = 1 << 20
"""Most bytes of a yaml file."""

DEPTH = 64
"""Most levels of lists and mappings inside each other."""

YAML_NODES = 100_000
"""Most values of a yaml file after its aliases are put in (64 characters of a text count as one more): 500 bytes of
aliases can stand for 10^9 values."""

BLOCK = 1 << 20
"""Bytes that are read at a time of a json list that need not fit into memory."""

LARGEST_ITEM = 64 << 20
"""Characters of its largest item; a list with a larger one is read at once."""

REMEDY = "restore it, or write it again"

_SPACE = re.compile(r"[ \t\n\r]*")

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_bytes(path: str | Path, *, limit_bytes: int, remedy: str = REMEDY) -> bytes:
    """The content of a file of at most ``limit_bytes``; one whose name ends in .gz is unpacked, to at most as many.

    Raises UserError where there is no such file, where it cannot be read and where it is too large.
    """
    path = Path(path)
    try:
        if not path.is_file():
            found = "is no file" if path.exists() else "does not exist"
            raise UserError(f"{path} {found}; {remedy}")
        packed = path.suffix == ".gz"
        most = limit_bytes if packed else min(limit_bytes, path.stat().st_size)
        with gzip.open(path) if packed else path.open("rb") as file:
            content = file.read(most + 1)  # which sets aside so much first
    except UserError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path} cannot be read ({reason}); {remedy}") from error
    if len(content) > limit_bytes:
        raise UserError(f"{path} holds more than {limit_bytes >> 10:,} KiB, the most that is read; give the right file")
    return content


def read_text(path: str | Path, *, limit_bytes: int = JSON_BYTES, remedy: str = REMEDY, errors: str = "strict") -> str:
    """The text of a UTF-8 file, or of a UTF-16 one with a byte order mark; ``errors`` as `bytes.decode` has them.

    Raises UserError as `read_bytes` does.
    """
    content = read_bytes(path, limit_bytes=limit_bytes, remedy=remedy)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); {remedy}") from error


def read_json(
    path: str | Path, *, limit_bytes: int = JSON_BYTES, limit_depth: int = DEPTH, remedy: str = REMEDY
) -> Any:
    """The value in a json file. Raises UserError naming the line of what is no JSON, and a file beyond a limit."""
    return parse_json(
        read_text(path, limit_bytes=limit_bytes, remedy=remedy), path, limit_depth=limit_depth, remedy=remedy
    )


def parse_json(text: str | bytes, source: object, *, limit_depth: int = DEPTH, remedy: str = REMEDY) -> Any:
    """The value of a JSON ``text``; ``source`` is its name in the UserError."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{source} is no JSON, or a damaged one ({at}: {error.msg}); {remedy}") from error
    except RecursionError as error:
        raise UserError(f"{source} nests more than {limit_depth} levels; {remedy}") from error
    except ValueError as error:  # a number of more than 4,300 digits, bytes that are no text
        raise UserError(f"{source} is no JSON, or a damaged one ({shortened(str(error), 80)}); {remedy}") from error
    level = [value]
    for _ in range(limit_depth):
        level = [
            child
            for parent in level
            if isinstance(parent, (list, dict))
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (list, dict))
        ]
        if not level:
            return value
    raise UserError(f"{source} nests more than {limit_depth} levels; {remedy}")


def read_json_items(path: str | Path, *, limit_bytes: int = JSON_BYTES, remedy: str = REMEDY) -> Iterator[Any]:
    """The items of a json list, one after the other, so that the list need not fit into memory.

    Raises UserError as `read_json` does, if only when it comes to the damaged place, and for what is no list.
    """
    count = 0
    try:
        for item in _items(path, limit_bytes):
            count += 1
            yield item
    except (OSError, EOFError, ValueError, RecursionError, zlib.error):
        content = read_json(path, limit_bytes=limit_bytes, remedy=remedy)  # knows what is wrong, and all encodings
        if not isinstance(content, list):
            raise UserError(f"{path} holds a {type(content).__name__}, expected a list; {remedy}") from None
        yield from content[count:]


def _items(path: str | Path, limit_bytes: int) -> Iterator[Any]:
    """The items of a json list in a UTF-8 file. Raises one of many errors where it is anything else."""
    text, begin, opened, closed, total = "", 0, False, False, 0
    to_text, item_at = codecs.getincrementaldecoder("utf-8-sig")().decode, json.JSONDecoder().raw_decode
    with gzip.open(path) if Path(path).suffix == ".gz" else Path(path).open("rb") as file:
        while block := file.read(BLOCK):
            total += len(block)
            text, begin = text[begin:] + to_text(block), 0
            if total > limit_bytes or len(text) > LARGEST_ITEM:
                raise ValueError("too large")
            while (start := _SPACE.match(text, begin).end()) < len(text):  # pyright: ignore[reportOptionalMemberAccess]
                if closed or (not opened and text[start] != "["):
                    raise ValueError("no list")
                if not opened:
                    opened, begin = True, start + 1
                    continue
                try:
                    item, end = item_at(text, start)
                except ValueError:
                    break  # its end may be in the next block
                end = _SPACE.match(text, end).end()  # pyright: ignore[reportOptionalMemberAccess]
                if end == len(text):
                    break
                if text[end] not in ",]":
                    raise ValueError("no comma")
                yield item
                begin, closed = end + 1, text[end] == "]"
    to_text(b"", True)
    if not closed or text[begin:].strip(" \t\n\r"):
        raise ValueError("no end")


def read_jsonl(path: str | Path, *, limit_bytes: int = JSON_BYTES, remedy: str = REMEDY) -> list[dict]:
    """The objects of a file with one JSON object a line. A last line without its end is still being written: left out.

    Raises UserError naming the first line that is no object.
    """
    text = read_text(path, limit_bytes=limit_bytes, remedy=remedy)
    entries = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        entry = parse_json(line, f"{path} line {number}", remedy=remedy)
        if not isinstance(entry, dict):
            raise UserError(f"{path} line {number} holds a {type(entry).__name__}, not an object; {remedy}")
        entries.append(entry)
    return entries


def read_yaml(
    path: str | Path, *, limit_bytes: int = YAML_BYTES, limit_depth: int = DEPTH, remedy: str = "correct it"
) -> Any:
    """The value in a yaml file of plain values; an empty file is None.

    Raises UserError naming the line of what is no YAML, a key that is given twice, and a file beyond a limit.
    """
    text = read_text(path, limit_bytes=limit_bytes, remedy=remedy)
    return parse_yaml(text, path, limit_depth=limit_depth, remedy=remedy)


def parse_yaml(text: str, source: object, *, limit_depth: int = DEPTH, remedy: str = "correct it") -> Any:
    """The value of a YAML ``text``; ``source`` is its name in the UserError."""
    try:
        _check_events(text, limit_depth)
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"{source} is no YAML ({at}{error.problem or error.context}); {remedy}") from error
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # PyYAML raises the latter for values that only look right: 2001-99-99, !!int "", !!bool maybe
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{source} is no YAML ({shortened(reason, 120)}); {remedy}") from error


def _check_events(text: str, limit_depth: int) -> None:
    """Raise MarkedYAMLError for a document that nests or unfolds beyond the limits, or names a key twice.

    The parser of the events is not recursive and keeps no values: whatever the text, this ends, in little memory.
    """
    counts: list[int] = [0]  # values inside each open list or mapping, the document's first
    keys: list[set[str] | None] = [None]  # of each open mapping, those before
    is_key: list[bool] = [False]
    anchors: list[str | None] = [None]
    unfolded: dict[str, int] = {}
    for event in yaml.parse(text, Loader=_Loader):
        count, name = 0, None
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            counts.append(1)
            keys.append(set() if is_mapping else None)
            is_key.append(is_mapping)
            anchors.append(event.anchor)
            if len(counts) - 1 > limit_depth:
                raise _fault(f"more than {limit_depth} levels inside each other", event)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            count, _, _, anchor = counts.pop(), keys.pop(), is_key.pop(), anchors.pop()
        elif isinstance(event, yaml.ScalarEvent):
            count, anchor, name = 1 + len(event.value) // 64, event.anchor, event.value
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in anchors:
                raise _fault(f"*{event.anchor} lies inside itself", event)
            count, anchor = unfolded.get(event.anchor, 1), None
        else:
            continue
        if anchor:
            unfolded[anchor] = count
        counts[-1] += count
        if counts[-1] > YAML_NODES:
            raise _fault(f"more than {YAML_NODES:,} values", event)
        before = keys[-1]
        if before is not None:
            if is_key[-1] and name is not None and name != "<<":
                if name in before:
                    raise _fault(f"{shortened(name, 60)!r} is given twice", event)
                before.add(name)
            is_key[-1] = not is_key[-1]


def _fault(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
