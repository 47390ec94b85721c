"""Every result below a runs folder, as one list of measurements with the file that each was read from.

Runs are written, made again, renamed and removed while a table is made of them. A file that is gone when it is to be
read is left out without a word: its run is not complete. A damaged file is named and left out.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from pretrain.backbones import USUAL
from runtime.command_line import UserError
from runtime.results import DamagedResult, NoResult, Record, read_result

FIRST_VERSION = 1
"""Of a protocol; that of results which do not say: versions were recorded before the first protocol changed."""

NO_ROWS = ("data", "jobs")
"""Folders of a runs folder in which no result lies: images by the million, records of jobs."""

T = TypeVar("T")


class Measurement(NamedTuple):
    """A record and the file that holds it."""

    record: Record
    path: Path
    context: Mapping[str, Any] = MappingProxyType({})
    """What else the file says of the run."""

    @property
    def version(self) -> int:
        """Of the protocol; two versions of one are kept apart as two protocols are."""
        return self.context.get("protocol_version", FIRST_VERSION)

    @property
    def key(self) -> tuple:
        """What tells two measurements apart."""
        record = self.record
        column = (record.benchmark, record.protocol, self.version, record.task, record.metric)
        row = (record.method, record.recipe, record.variant, record.epochs, record.backbone or USUAL)
        return (*row, record.seed, record.source, *column)


@dataclass
class Collection:
    """What was read below a runs folder."""

    measurements: list[Measurement] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """One line for each damaged file, which is left out."""

    def note(self) -> str:
        """A footnote that names what is left out; empty if nothing is."""
        if not self.faults:
            return ""
        count = len(self.faults)
        return f"Left out: {count} result file{'s' if count > 1 else ''} that cannot be read. {self.faults[0]}"


def collect(runs: str | Path) -> Collection:
    """The records of every ``result.json`` below ``runs``, in the order of their paths.

    Raises UserError if ``runs`` is no folder or holds no readable result, and if the same measurement is there twice
    with the same seed, in two files or in one: nobody could say which of them counts.
    """
    runs = Path(runs)
    if not runs.is_dir():
        raise UserError(f"{runs} is not a folder of runs; give the RUNS folder of slurm/run_all.py")
    collection = Collection()
    for path in result_files(runs):
        try:
            records, context = read_result(path)
        except NoResult:
            continue  # moved, or being made again
        except DamagedResult as error:
            collection.faults += error.faults
            continue
        collection.measurements += [Measurement(record, path, context) for record in records]
    collection.measurements = _without_moved(collection.measurements)
    if not collection.measurements:
        if collection.faults:
            raise UserError.of(collection.faults)
        raise UserError(f"no result.json below {runs}; run the stage transfer first, or give another folder")
    return collection


def result_files(folder: Path) -> Iterator[Path]:
    """Every ``result.json`` below a folder, by path, hidden folders left out; a folder that goes meanwhile is over.

    Links to folders are followed, each folder once: not a link to a parent, nor both a row and a link to it.
    """
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(place)
        skipped = NO_ROWS if Path(parent) == folder else ()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in skipped)
        if "result.json" in files:
            yield Path(parent) / "result.json"
        if "result.json" in folders:  # the reader says that it is no file
            folders.remove("result.json")
            yield Path(parent) / "result.json"


def _without_moved(measurements: list[Measurement]) -> list[Measurement]:
    """The measurements, without those of a file that was read and then moved to where it was read again.

    Raises UserError if one is there twice all the same.
    """
    first: dict[tuple, Path] = {}
    for measurement in measurements:
        other = first.setdefault(measurement.key, measurement.path)
        if other == measurement.path:
            continue
        if other.exists() and measurement.path.exists():
            where = f"{other} and {measurement.path} hold"
            raise UserError(f"{where} the same result twice ({describe(measurement)}); move one of them away")
        first[measurement.key] = other if other.exists() else measurement.path
    kept = [measurement for measurement in measurements if first[measurement.key] == measurement.path]
    counted: set[tuple] = set()
    for measurement in kept:
        if measurement.key in counted:
            where = f"{measurement.path} holds"
            raise UserError(f"{where} the same result twice ({describe(measurement)}); move one of them away")
        counted.add(measurement.key)
    return kept


def versioned(protocol: str, version: int) -> str:
    """The name of a protocol, with its version where that is not the first."""
    return protocol if version == FIRST_VERSION else f"{protocol} v{version}"


def describe(measurement: Measurement) -> str:
    """A measurement in words."""
    record = measurement.record
    variant = f" ({record.variant})" if record.variant else ""
    protocol = versioned(record.protocol, measurement.version)
    column = f"{protocol} on {record.benchmark}, {record.task} {record.metric}"
    return f"{record.method}{variant} seed {record.seed}, {column}"


def unique(values: Iterable[T]) -> list[T]:
    """The different values, in the order of their first appearance."""
    return list(dict.fromkeys(values))
