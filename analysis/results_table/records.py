"""Every result under a runs folder, as one list of records with the file that each was found in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from runtime.command_line import UserError
from runtime.results import Record, context, read

FIRST_VERSION = 1
"""Of a protocol; that of results which do not say: versions were recorded before the first protocol changed."""


class Found(NamedTuple):
    """A record and where it is kept."""

    record: Record
    path: Path
    about: Mapping[str, Any] = MappingProxyType({})
    """What else the file says of the run."""

    @property
    def version(self) -> int:
        """Of the protocol; two versions of one are kept apart as two protocols are."""
        return self.about.get("protocol_version", FIRST_VERSION)


def collect(runs: str | Path) -> list[Found]:
    """The records of every ``result.json`` below ``runs``, in the order of their paths.

    Raises UserError if ``runs`` is no folder or holds no result, if what a result says of its protocol is of the wrong
    kind, and if the same measurement is there twice with the same seed, in two files or in one: which of them counts
    nobody could say.
    """
    runs = Path(runs)
    if not runs.is_dir():
        raise UserError(f"{runs} is not a folder of runs; give the --runs folder of slurm/run_all.py")
    records: list[Found] = []
    first: dict[tuple, Path] = {}
    for path in sorted(runs.rglob("result.json")):
        about = context(path)
        for found in (Found(record, path, about) for record in read(path)):
            _check(found)
            if (place := key(found)) in first:
                where = f"{path} holds" if first[place] == path else f"{first[place]} and {path} hold"
                raise UserError(f"{where} the same result twice ({describe(found)}); move one of them away")
            first[place] = path
            records.append(found)
    if not records:
        raise UserError(f"no result.json below {runs}; run the stage transfer first, or give another folder")
    return records


def _check(found: Found) -> None:
    """Raises UserError if what a file says of its protocol cannot be understood."""
    expected = {"protocol_version": int, "scale": int, "changed_from_protocol": dict}
    for name, kind in expected.items():
        if name in found.about and type(found.about[name]) is not kind:
            said = f"{found.path} has {name} {found.about[name]!r}"
            raise UserError(f"{said}, expected {'a whole number' if kind is int else 'settings and their values'}")


def key(found: Found) -> tuple:
    """What tells two measurements apart."""
    record = found.record
    place = (record.benchmark, record.protocol, found.version, record.task, record.metric)
    return (record.method, record.recipe, record.variant, record.epochs, record.seed, record.source, *place)


def versioned(protocol: str, version: int) -> str:
    """The name of a protocol, with its version where that is not the first."""
    return protocol if version == FIRST_VERSION else f"{protocol} v{version}"


def describe(found: Found) -> str:
    """A measurement in words."""
    record = found.record
    variant = f" ({record.variant})" if record.variant else ""
    protocol = versioned(record.protocol, found.version)
    where = f"{protocol} on {record.benchmark}, {record.task} {record.metric}"
    return f"{record.method}{variant} seed {record.seed}, {where}"


def unique(values: Sequence) -> list:
    """The different values, in the order of their first appearance."""
    return list(dict.fromkeys(values))
