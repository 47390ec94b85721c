"""Runs that departed from their protocol: by a setting of the command line, or by a smaller batch (``--scale``).

They stay in the protocol's column, where their reader looks for them, with a mark and what was changed below the table.
"""

from collections.abc import Sequence

from analysis.results_table.records import FIRST_VERSION, Found, unique

MARK = "‡"

UNKNOWN = "not recorded"
"""Of results written before departures were: whether there were any, nobody can say now."""


def has_settings(found: Found) -> bool:
    """Whether a record's protocol is a file of settings; of neighbours and features the name says all."""
    return found.record.task != "representation" and not found.record.protocol.startswith("knn")


def departure(found: Found) -> str:
    """``--scale 8, SOLVER.MAX_ITER 9000``: what of the run behind a record is not its protocol's; mostly empty."""
    scale = found.about.get("scale", 1)
    changed = [f"{key} {value}" for key, value in found.about.get("changed_from_protocol", {}).items()]
    return ", ".join(([f"--scale {scale}"] if scale != 1 else []) + changed)


def silence(found: Found) -> str:
    """What a record means that names no departure."""
    return UNKNOWN if has_settings(found) and "changed_from_protocol" not in found.about else "none"


def conditions(found: Found) -> str:
    """How far a record's protocol was followed, and which version of it; empty where it has no settings."""
    if not has_settings(found):
        return ""
    version = found.about.get("protocol_version", f"{UNKNOWN}, taken for {FIRST_VERSION}")
    return f"protocol version {version}; departures from its settings: {departure(found) or silence(found)}"


def of_seeds(found: Sequence[Found]) -> str:
    """The departure of the runs of one cell, seed by seed where they are not alike."""
    each = [departure(entry) or silence(entry) for entry in found]
    if len(unique(each)) < 2:
        return each[0] if each else ""
    return "; ".join(f"seed {entry.record.seed}: {words}" for entry, words in zip(found, each, strict=True))


def note(rows: dict[str, str]) -> str:
    """The footnote of the rows (name -> departure) that carry the mark."""
    said = "; ".join(f"{', '.join(n for n in rows if rows[n] == words)} ({words})" for words in unique(rows.values()))
    return f"{MARK} Not under the protocol's own settings: {said}."
