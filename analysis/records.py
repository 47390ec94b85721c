"""Every result under a runs folder, as one list of records with the file that each was found in."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pretrain.command_line import UserError
from transfer.results import Record, read


class Found(NamedTuple):
    """A record and where it is kept."""

    record: Record
    path: Path


def collect(runs: str | Path) -> list[Found]:
    """The records of every ``result.json`` below ``runs``, in the order of their paths.

    Raises UserError if ``runs`` is no folder or holds no result, and if the same measurement is there twice with the
    same seed, in two files or in one: which of them counts nobody could say.
    """
    runs = Path(runs)
    if not runs.is_dir():
        raise UserError(f"{runs} is not a folder of runs; give the --runs folder of slurm/run_all.py")
    records: list[Found] = []
    first: dict[tuple, Path] = {}
    for path in sorted(runs.rglob("result.json")):
        for record in read(path):
            if (place := key(record)) in first:
                where = f"{path} holds" if first[place] == path else f"{first[place]} and {path} hold"
                raise UserError(f"{where} the same result twice ({describe(record)}); move one of them away")
            first[place] = path
            records.append(Found(record, path))
    if not records:
        raise UserError(f"no result.json below {runs}; run the stage transfer first, or give another folder")
    return records


def key(record: Record) -> tuple:
    """What tells two measurements apart."""
    place = (record.benchmark, record.protocol, record.task, record.metric)
    return (record.method, record.recipe, record.variant, record.epochs, record.seed, record.source, *place)


def describe(record: Record) -> str:
    """A measurement in words."""
    variant = f" ({record.variant})" if record.variant else ""
    where = f"{record.protocol} on {record.benchmark}, {record.task} {record.metric}"
    return f"{record.method}{variant} seed {record.seed}, {where}"


def unique(values: Sequence) -> list:
    """The different values, in the order of their first appearance."""
    return list(dict.fromkeys(values))
