"""Runs that deviate from their protocol: by a setting of the command line, or by a smaller batch (``--scale``).

They stay in the protocol's column, where their reader looks for them, with a mark and what was changed below the table.
"""

from collections.abc import Mapping, Sequence

from analysis.results_table.measurements import FIRST_VERSION, Measurement, unique

MARK = "‡"

UNKNOWN = "not recorded"
"""Of results that were written before deviations were recorded."""

MOST_NAMED = 20
"""Rows that a footnote names; the others are counted."""


def has_settings(measurement: Measurement) -> bool:
    """Whether a record's protocol is a file of settings; of neighbours and features the name says all."""
    return measurement.record.task != "representation" and not measurement.record.protocol.startswith("knn")


def deviation(measurement: Measurement) -> str:
    """``--scale 8, SOLVER.MAX_ITER 9000``: what differs from the protocol in the run of a record; mostly empty.

    Which network is no deviation, and has a column.
    """
    scale = measurement.context.get("scale", 1)
    pairs = measurement.context.get("changed_from_protocol", {}).items()
    changed = [f"{key} {value}" for key, value in pairs if key != "TRANSFER.BACKBONE"]
    return ", ".join(([f"--scale {scale}"] if scale != 1 else []) + changed)


def described(measurement: Measurement) -> str:
    """The deviation of a run, ``none``, or ``not recorded``."""
    unknown = has_settings(measurement) and "changed_from_protocol" not in measurement.context
    return deviation(measurement) or (UNKNOWN if unknown else "none")


def conditions(measurement: Measurement) -> str:
    """Which version of its protocol a record is of and how the run deviates from it; empty where it has no settings."""
    if not has_settings(measurement):
        return ""
    version = measurement.context.get("protocol_version", f"{UNKNOWN}, taken for {FIRST_VERSION}")
    return f"protocol version {version}; deviations from its settings: {described(measurement)}"


def of_seeds(measurements: Sequence[Measurement]) -> str:
    """The deviation of the runs of one cell, seed by seed where they are not alike."""
    texts = [described(entry) for entry in measurements]
    if len(set(texts)) < 2:
        return texts[0] if texts else ""
    return "; ".join(f"seed {entry.record.seed}: {text}" for entry, text in zip(measurements, texts, strict=True))


def note(rows: Mapping[str, str]) -> str:
    """The footnote of the rows (name -> deviation) that carry the mark."""
    groups = []
    for text in unique(rows.values()):
        names = [name for name in rows if rows[name] == text]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        groups.append(f"{', '.join(names[:MOST_NAMED])}{more} ({text})")
    more = f"; and {len(groups) - MOST_NAMED} other deviations" if len(groups) > MOST_NAMED else ""
    return f"{MARK} Not under the protocol's own settings: {'; '.join(groups[:MOST_NAMED])}{more}."
