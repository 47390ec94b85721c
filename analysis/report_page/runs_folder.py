"""A runs folder as the report reads it: every file may be missing, and one that is damaged is named, not fatal."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

OTHERS = ("data", "jobs", "results")
"""Folders beside those of the rows."""

MARKERS = ("pretrain", "convert")


@dataclass
class RunsFolder:
    """A runs folder, and what in it could not be read."""

    path: Path
    faults: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Path]:
        """The folders of rows, by name; seeds of ten and more after those below."""
        inside = [path for path in self.path.iterdir() if path.is_dir() and path.name not in OTHERS]
        inside = [path for path in inside if not path.name.startswith(".") and is_row(path)]
        return sorted(inside, key=lambda path: (len(path.name.rpartition("-seed")[2]), path.name))

    def name(self, path: Path) -> str:
        """A path as the page shows it: below the runs folder."""
        return path.relative_to(self.path).as_posix()

    def find(self, pattern: str) -> list[Path]:
        """Files down to two folders deep; deeper lie the images of data sets, a million of them."""
        return sorted(path for deep in ("", "*/", "*/*/") for path in self.path.glob(deep + pattern))

    def json(self, path: Path) -> dict:
        """An object, empty where there is no file."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self.faults.append(f"{self.name(path)}: {error}")
            return {}
        if not isinstance(content, dict):
            self.faults.append(f"{self.name(path)}: expected an object, found a {type(content).__name__}")
            return {}
        return content

    def yaml(self, path: Path) -> dict:
        """Settings, empty where there is no file."""
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, yaml.YAMLError) as error:
            self.faults.append(f"{self.name(path)}: {' '.join(str(error).split())}")
            return {}
        return content if isinstance(content, dict) else {}

    def log(self, path: Path) -> list[dict]:
        """The lines of a log of JSON objects; one that was cut off as it was written is left out."""
        return list(self._lines(path))

    def _lines(self, path: Path) -> Iterator[dict]:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self.faults.append(f"{self.name(path)}: {error}")
            return
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
            except ValueError:
                if number < len(lines):
                    self.faults.append(f"{self.name(path)} line {number} is no JSON")
                continue
            if isinstance(entry, dict):
                yield entry


def is_row(path: Path) -> bool:
    made = ("result.json", "run.json", "features.safetensors")
    return any((path / name).is_dir() for name in MARKERS) or any(
        (leaf / name).exists() for leaf in leaves(path) for name in made
    )


def leaves(row: Path) -> list[Path]:
    """The folders of a row's stages; where a protocol is run with several seeds, one for each."""
    folders = sorted(path for path in row.iterdir() if path.is_dir())
    return [leaf for path in folders for leaf in sorted(path.glob("seed[0-9]*")) or [path]]


def numbers(entries: list[dict], *keys: str) -> list[tuple[float, ...]]:
    """The values of ``keys`` in every entry that has numbers for all of them."""
    found = [tuple(entry.get(key) for key in keys) for entry in entries]
    return [values for values in found if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)]
