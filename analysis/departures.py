"""Runs that departed from their protocol: by a setting of the command line, or by a smaller batch (``--scale``).

They stay in the protocol's column, where their reader looks for them, with a mark and what was changed below the table.
"""

from collections.abc import Sequence
from pathlib import Path

from analysis.records import Found, unique
from transfer.results import context

MARK = "‡"


def departure(path: Path) -> str:
    """``--scale 8, SOLVER.MAX_ITER 9000``: what of the run behind a result.json is not its protocol's; mostly empty."""
    about = context(path)
    scale = about.get("scale", 1)
    changed = [f"{key} {value}" for key, value in about.get("changed_from_protocol", {}).items()]
    return ", ".join(([f"--scale {scale}"] if scale != 1 else []) + changed)


def of_seeds(found: Sequence[Found]) -> str:
    """The departure of the runs of one cell, seed by seed where they are not alike; empty if none departed."""
    each = [departure(entry.path) for entry in found]
    if len(unique(each)) < 2:
        return each[0] if each else ""
    seeds = (f"seed {entry.record.seed}: {words or 'none'}" for entry, words in zip(found, each, strict=True))
    return "; ".join(seeds)


def note(rows: dict[str, str]) -> str:
    """The footnote of the rows (name -> departure) that carry the mark."""
    said = "; ".join(f"{', '.join(n for n in rows if rows[n] == words)} ({words})" for words in unique(rows.values()))
    return f"{MARK} Not under the protocol's own settings: {said}."
