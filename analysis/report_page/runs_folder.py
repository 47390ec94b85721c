"""A runs folder as the report reads it: every file may be missing, written or moved meanwhile, or damaged.

The folder is listed once. A damaged file is named at the end of the page and costs only itself.
"""

import contextlib
import fnmatch
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from runtime.command_line import UserError, shortened
from runtime.read import read_json, read_text, read_yaml

NO_ROWS = ("data", "jobs", "results")
"""Folders beside those of the rows."""

ROW_FOLDERS = ("pretrain", "convert", "language")
ROW_FILES = ("result.json", "run.json", "features.safetensors")
"""What makes a folder that of a row: one of these folders in it, or one of these files in a folder of it."""


LARGEST = 1e300
"""Of a number in a chart; NaN and infinities are not below it."""


class Listing(NamedTuple):
    """Names in a folder, sorted."""

    folders: list[str]
    files: list[str]


class StageFile(NamedTuple):
    """A file of a stage of a row."""

    path: Path
    stage: str
    """The stage's folder, ``moco-c4-1x-coco_2017``."""
    run: str
    """The row, ``byol-demo-seed0``, and which seed of a stage that has several: ``byol-demo-seed0/seed1``."""


@dataclass
class RunsFolder:
    """A runs folder, and what in it could not be read."""

    path: Path
    faults: list[str] = field(default_factory=list)
    _listings: dict[Path, Listing] = field(default_factory=dict)

    def listing(self, path: Path) -> Listing:
        """What a folder holds, hidden names left out; nothing where it is gone or no folder."""
        if path not in self._listings:
            folders, files = [], []
            with contextlib.suppress(OSError), os.scandir(path) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        (folders if _is_folder(entry) else files).append(entry.name)
            self._listings[path] = Listing(sorted(folders), sorted(files))
        return self._listings[path]

    @cached_property
    def rows(self) -> list[Path]:
        """The folders of rows, by name; seeds of ten and more after those below."""
        folders = [self.path / name for name in self.listing(self.path).folders if name not in NO_ROWS]
        rows = [path for path in folders if self._is_row(path)]
        return sorted(rows, key=lambda path: (len(path.name.rpartition("-seed")[2]), path.name))

    def _is_row(self, path: Path) -> bool:
        if any(name in ROW_FOLDERS for name in self.listing(path).folders):
            return True
        return any(name in ROW_FILES for leaf in self.leaves(path) for name in self.listing(leaf).files)

    def leaves(self, row: Path) -> list[Path]:
        """The folders of a row's stages; where a protocol is run with several seeds, one for each."""
        leaves = []
        for stage in self.listing(row).folders:
            seeds = fnmatch.filter(self.listing(row / stage).folders, "seed[0-9]*")
            leaves += [row / stage / seed for seed in seeds] or [row / stage]
        return leaves

    def stage_files(self, row: Path, pattern: str) -> list[StageFile]:
        """Files in the folders of a row's stages, and of the seeds of each."""
        files = []
        for leaf in self.leaves(row):
            stage, *seed = leaf.relative_to(row).parts
            names = fnmatch.filter(self.listing(leaf).files, pattern)
            files += [StageFile(leaf / name, stage, "/".join([row.name, *seed])) for name in names]
        return files

    def find(self, pattern: str) -> list[Path]:
        """Files down to two folders deep; the images of data sets, a million of them, are deeper."""
        folders = [self.path]
        first = [self.path / name for name in self.listing(self.path).folders if name not in ("data", "jobs")]
        folders += first + [path / name for path in first for name in self.listing(path).folders]
        return sorted(path / name for path in folders for name in fnmatch.filter(self.listing(path).files, pattern))

    def name(self, path: Path) -> str:
        """A path as the page shows it: below the runs folder."""
        return path.relative_to(self.path).as_posix()

    def fault(self, path: Path, reason: str) -> None:
        """Note that a file could not be read."""
        reason = reason.replace(str(path), "").strip(" :")
        self.faults.append(f"{self.name(path)}: {shortened(' '.join(reason.split()), 200)}")

    @contextlib.contextmanager
    def expected(self, path: Path) -> Iterator[None]:
        """Inside, values of ``path`` may be of another shape than expected: that is noted, and the block left."""
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            self.fault(path, f"unexpected content ({type(error).__name__}: {error})")

    def json(self, path: Path) -> dict[str, Any]:
        """An object, empty where there is no file."""
        return self._object(path, lambda: read_json(path))

    def yaml(self, path: Path) -> dict[str, Any]:
        """Settings, empty where there is no file."""
        return self._object(path, lambda: read_yaml(path) or {})

    def _object(self, path: Path, read) -> dict[str, Any]:
        try:
            content = read()
        except UserError as error:
            if path.exists():
                self.fault(path, str(error))
            return {}
        if not isinstance(content, dict):
            self.fault(path, f"expected an object, found a {type(content).__name__}")
            return {}
        return content

    def log(self, path: Path) -> list[dict]:
        """The lines of a log of JSON objects; a damaged line is named, the last is left out while it is written."""
        try:
            lines = read_text(path).rstrip("\n").split("\n")
        except UserError as error:
            if path.exists():
                self.fault(path, str(error))
            return []
        entries = []
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                if number < len(lines):
                    self.fault(path, f"line {number} is no JSON")
                continue
            if isinstance(entry, dict):
                entries.append(entry)
        return entries


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def numbers(entries: list[dict], *keys: str) -> list[tuple[float, ...]]:
    """The values of ``keys`` in every entry that has numbers for all of them."""
    values: list[tuple] = [tuple(entry.get(key) for key in keys) for entry in entries]
    return [row for row in values if all(type(value) in (int, float) and abs(value) < LARGEST for value in row)]
