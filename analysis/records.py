"""Every result under a runs folder, as one list of records."""

from collections.abc import Sequence
from pathlib import Path

from pretrain.command_line import UserError
from transfer.results import Record, read


def collect(runs: str | Path) -> list[Record]:
    """The records of every ``result.json`` below ``runs``, in the order of their paths.

    Raises UserError if ``runs`` is no folder, and if two files hold the same measurement with the same seed: which of
    them counts nobody could say.
    """
    runs = Path(runs)
    if not runs.is_dir():
        raise UserError(f"{runs} is not a folder of runs; give the --runs folder of slurm/run_all.py")
    records = []
    found: dict[tuple, Path] = {}
    for path in sorted(runs.rglob("result.json")):
        for record in read(path):
            first = found.setdefault(key(record), path)
            if first != path:
                raise UserError(f"{first} and {path} hold the same result ({describe(record)}); move one of them away")
            records.append(record)
    return records


def key(record: Record) -> tuple:
    """What tells two measurements apart."""
    place = (record.benchmark, record.protocol, record.task, record.metric)
    return (record.method, record.recipe, record.epochs, record.seed, record.source, *place)


def describe(record: Record) -> str:
    return f"{record.method} seed {record.seed}, {record.protocol} on {record.benchmark}, {record.task} {record.metric}"


def unique(values: Sequence) -> list:
    """The different values, in the order of their first appearance."""
    return list(dict.fromkeys(values))
