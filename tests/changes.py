"""Changed files, for property tests of readers: whole ones with values of other types, or bytes flipped and cut out.

In the tests, the fixture ``changes``; `readable_or_refused` is the property that every reader has.
"""

import contextlib
import copy
import csv
import gzip
import io
import json
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from runtime.command_line import UserError, error_lines

MOST_S, MOST_BYTES = 1.0, 300 << 20
"""Seconds of CPU and memory that reading a small file may take."""


def peak_bytes() -> int:
    """The most memory that the process had since this was asked before."""
    text = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(text.partition("VmHWM:")[2].split()[0]) << 10


@contextlib.contextmanager
def modest(*, most_s: float = MOST_S) -> Iterator[None]:
    """Fail where the block takes more than ``most_s`` of CPU or MOST_BYTES; it cannot take gigabytes."""
    peak_bytes()
    before, began = peak_bytes(), time.process_time()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allocated = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (allocated + (2 << 30), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    seconds, grown = time.process_time() - began, peak_bytes() - before
    assert seconds < most_s and grown < MOST_BYTES, f"{seconds:.1f} s, {grown >> 20} MiB"


ODD = st.sampled_from(
    [None, True, 0, -1, 7, 0.5, 1e308, float("nan"), float("inf"), 2**70, 10**400, "", "1", "x" * 2000, "../../x"]
    + ["a\nb", "\x1b[2J", "\u2028", "\ud800", "\0", "=1+1", [], {}, [[]], [1, "a"], {"a": {"b": 1}}, {"": None}]
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Container and key of every value inside another."""
    found, todo = [], [value]
    while todo:
        inner = todo.pop()
        pairs = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        for key, child in list(pairs):
            found.append((inner, key))
            todo.append(child)
    return found


@st.composite
def edited(draw, content: Any) -> Any:
    """Plain values with one to three of them changed."""
    root = [copy.deepcopy(content)]
    for _ in range(draw(st.integers(1, 3))):
        holders = places(root)
        holder, key = holders[draw(st.integers(0, len(holders) - 1))]
        change = draw(st.sampled_from(["retype", "retype", "drop", "double", "nest", "deepen", "exchange", "rename"]))
        if change == "drop" and holder is not root:
            del holder[key]
        elif change == "double" and isinstance(holder, dict):
            holder[f"{key}2"] = copy.deepcopy(holder[key])
        elif change == "double" and holder is not root:
            holder.insert(key, copy.deepcopy(holder[key]))
        elif change == "nest":
            holder[key] = draw(st.sampled_from([[holder[key]], {"a": holder[key]}]))
        elif change == "deepen":
            for _ in range(draw(st.sampled_from([10, 70]))):
                holder[key] = [holder[key]]
        elif change == "exchange":
            other, place = holders[draw(st.integers(0, len(holders) - 1))]
            holder[key] = copy.deepcopy(other[place])
        elif change == "rename" and isinstance(holder, dict):
            holder[draw(st.text(max_size=4) | st.integers() | st.none())] = holder.pop(key)
        else:
            holder[key] = copy.deepcopy(draw(ODD))
    return root[0]


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """Bytes with one to four places flipped, overwritten, cut out, doubled, put in or cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        length = draw(st.sampled_from([1, 1, 2, 4, 8, 64]))
        match draw(st.sampled_from(["flip", "flip", "write", "cut", "double", "insert", "end"])):
            case "flip" if changed:
                changed[at] ^= 1 << draw(st.integers(0, 7))
            case "write":
                changed[at : at + length] = draw(st.binary(min_size=length, max_size=length))
            case "cut":
                del changed[at : at + length]
            case "double":
                changed[at:at] = changed[at : at + length]
            case "insert":
                changed[at:at] = draw(st.binary(min_size=1, max_size=length))
            case "end":
                del changed[at:]
    return bytes(changed)


def dumped(value: Any) -> str:
    """JSON of any depth and any keys."""
    try:
        return json.dumps(value, skipkeys=False)
    except (RecursionError, TypeError):
        return "[" * 100_000


def written(content: Any, name: str) -> bytes:
    """Plain values as a file of a name would hold them."""
    if isinstance(content, bytes):
        return content
    if name.endswith(".jsonl"):
        lines = content if isinstance(content, list) else [content]
        return "".join(f"{dumped(line)}\n" for line in lines).encode()
    if name.endswith(".csv"):
        file, rows = io.StringIO(), content if isinstance(content, list) else [content]
        csv.writer(file).writerows([map(str, row if isinstance(row, list) else [row]) for row in rows])
        return file.getvalue().encode(errors="surrogatepass")
    if name.endswith(".yaml"):
        with contextlib.suppress(RecursionError, yaml.YAMLError, ValueError):
            return yaml.safe_dump(content).encode(errors="surrogatepass")
    text = dumped(content).encode()
    return gzip.compress(text, mtime=0) if name.endswith(".gz") else text


def contents(content: Any, name: str) -> st.SearchStrategy[bytes]:
    """What may be in a file of a name, whose whole content is plain values, or bytes where it is no text."""
    whole = written(content, name)
    if isinstance(content, bytes):
        return damaged(whole)
    changed = edited(content).map(lambda value: written(value, name))
    return changed | changed | changed.flatmap(damaged) | damaged(whole)


def readable_or_refused(read: Callable[[Path], object], path: Path) -> None:
    """Fail unless a file is read, or refused in short lines, in little time and memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with modest():
                read(path)
        except UserError as error:
            lines = error_lines(error)
            assert lines and all(line.isprintable() and len(line) <= 300 for line in lines)
