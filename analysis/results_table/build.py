"""Which records make which table: detection, classification, representation, and sweeps of one setting.

A detection table is one benchmark under one protocol; a classification table one benchmark and kind of probe, with a
column for every protocol; a representation table one benchmark and layer; a sweep the variants ``key=value`` of one
method, which then stand in no other table. The papers' numbers join where benchmark, protocol and metric are the same.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from analysis.results_table import published
from analysis.results_table.model import METRICS, Cell, Column, Row, Table
from analysis.results_table.published import Published
from analysis.results_table.records import Found, unique, versioned
from runtime.results import Record

DETECTION = ("bbox", "segm", "keypoints")

PROBES = {
    "linear": "linear classification",
    "semi": "classification with a part of the labels",
    "knn": "nearest neighbours",
    "classification": "classification",
}
"""Kinds of probe, and what their tables are called."""


WHOLE = ("Matrix-SSL Table 1", "linear-matrix-ssl")
"""The paper's table of linear classification, and the protocol of its own rows."""

RANKS = (
    "Ranks over covariance eigenvalues (-cov) and over singular values (-sv, rankme) are two definitions. No rank of n "
    "images exceeds n − 1, and of K classes none between them K − 1; effective_rank.json and spectra.json beside the "
    "records say how many images of each class there were, the intervals, and which values read off n."
)


def build(found: Sequence[Found], printed: Iterable[Published] | None = None) -> list[Table]:
    """The tables of ``found``, benchmark by benchmark.

    Args:
        printed: the papers' numbers; those of the suite's file if not given.
    """
    printed = published.load() if printed is None else list(printed)
    shown = [entry for entry in found if entry.record.task == "representation" or entry.record.metric in METRICS]
    swept = sweeps(shown)
    tables = []
    for benchmark in sorted({entry.record.benchmark for entry in shown}):
        here = [entry for entry in shown if entry.record.benchmark == benchmark]
        usual = [entry for entry in here if sweep_of(entry.record) not in swept]
        quotable = [entry for entry in printed if entry.benchmark == benchmark in published.QUOTABLE]
        tables += detection(benchmark, usual, quotable)
        tables += classification(benchmark, usual, quotable)
        tables += representation(benchmark, usual)
        tables += sweep_tables(benchmark, here, swept, quotable)
    versions = versions_of(shown)
    return [replace(table, extra=[*table.extra, *version_notes(table, versions)]) for table in tables]


def versions_of(found: Sequence[Found]) -> dict[str, list[int]]:
    """The protocols that were measured in more than one version, and those versions."""
    versions: dict[str, set[int]] = {}
    for entry in found:
        versions.setdefault(entry.record.protocol, set()).add(entry.version)
    return {protocol: sorted(known) for protocol, known in versions.items() if len(known) > 1}


def version_notes(table: Table, versions: dict[str, list[int]]) -> list[str]:
    """What a reader must know of a table that has one of several versions of a protocol."""
    mine = unique([column.protocol for column in table.columns if column.protocol in versions])
    return [
        f"{protocol} was measured in versions {' and '.join(map(str, versions[protocol]))}, and a version rises when "
        "a protocol's numbers change: they share no column. A result that does not record its version has the first."
        for protocol in mine
    ]


def detection(benchmark: str, found: list[Found], quotable: list[Published]) -> list[Table]:
    """A table per protocol, with the benchmark's first nearest-neighbour probe beside it if it has one."""
    boxes = [entry for entry in found if entry.record.task in DETECTION]
    probes = [entry for entry in found if entry.record.metric == "top1" and kind_of(entry.record) == "knn"]
    first = min(map(under, probes), default=None)
    probe = [entry for entry in probes if under(entry) == first]
    tables = []
    for protocol, version in sorted(set(map(under, boxes))):
        mine = [entry for entry in boxes if under(entry) == (protocol, version)]
        title = versioned(protocol, version)
        tables.append(pivot(f"{benchmark}-{title}", benchmark, f"protocol {title}", mine + probe, quotable))
    return tables


def under(entry: Found) -> tuple[str, int]:
    """The protocol of a record and its version."""
    return entry.record.protocol, entry.version


def classification(benchmark: str, found: list[Found], quotable: list[Published]) -> list[Table]:
    """A table per kind of probe; none for neighbours that the detection tables already show in full."""
    probes = [entry for entry in found if entry.record.task == "classification"]
    beside = any(entry.record.task in DETECTION for entry in found)
    tables = []
    for kind, title in PROBES.items():
        mine = [entry for entry in probes if kind_of(entry.record) == kind]
        shown_already = kind == "knn" and beside and len({(*under(e), e.record.metric) for e in mine}) == 1
        if mine and not shown_already:
            tables.append(pivot(f"{benchmark}-{kind}", benchmark, title, mine, quotable))
    return tables


def kind_of(record: Record) -> str:
    """The kind of probe that a protocol is, by the first word of its name."""
    kind = record.protocol.partition("-")[0]
    return kind if kind in PROBES else "classification"


def representation(benchmark: str, found: list[Found]) -> list[Table]:
    """A table per layer; which number is good depends on the measure, so nothing is bold."""
    mine = [entry for entry in found if entry.record.task == "representation"]
    return [
        pivot(f"{benchmark}-{protocol}", benchmark, f"representation, {protocol}", group, [], extra=[RANKS])
        for protocol in sorted({entry.record.protocol for entry in mine})
        for group in [[entry for entry in mine if entry.record.protocol == protocol]]
    ]


def sweep_of(record: Record) -> tuple | None:
    """The sweep that a record may belong to: method, recipe, epochs, and the setting of its ``key=value`` variant."""
    key, equals, _ = record.variant.rpartition("=")
    if not equals or "," in key or "=" in key:
        return None
    return record.method, record.recipe, record.epochs, key.rpartition(".")[2]


def sweeps(found: Sequence[Found]) -> set[tuple]:
    """The sweeps with at least two values."""
    values: dict[tuple, set[str]] = {}
    for entry in found:
        if sweep := sweep_of(entry.record):
            values.setdefault(sweep, set()).add(entry.record.variant)
    return {sweep for sweep, variants in values.items() if len(variants) > 1}


def sweep_tables(benchmark: str, found: list[Found], swept: set[tuple], quotable: list[Published]) -> list[Table]:
    """A row per value, and one for the recipe as it is, against all that was measured on the benchmark."""
    tables = []
    for sweep in sorted(swept):
        method, recipe, epochs, setting = sweep
        plain = [e for e in found if (e.record.method, e.record.recipe, e.record.epochs) == sweep[:3]]
        plain = [entry for entry in plain if not entry.record.variant]
        same = [e for e in quotable if e.method == method and e.variant.rpartition("=")[0] == setting]
        title = f"{Row(method=method, recipe=recipe, variant='', epochs=epochs).name} by {setting}"
        for kind, tasks in (("", (*DETECTION, "classification")), ("-representation", ("representation",))):
            mine = [entry for entry in found if sweep_of(entry.record) == sweep and entry.record.task in tasks]
            columns = {Column.of(entry) for entry in mine}
            base = [entry for entry in plain if Column.of(entry) in columns]
            name = f"{benchmark}-{method}-{recipe}-{setting}{kind}"
            if mine:
                tables.append(pivot(name, benchmark, title, mine + base, same, swept=setting))
    return tables


def pivot(
    name: str, benchmark: str, title: str, found: list[Found], quotable: list[Published], *, swept: str = "", extra=()
) -> Table:
    """One table of records of one benchmark, and of the papers' numbers that fit its columns."""
    cells: dict[tuple[Row, Column], list[Found]] = {}
    for entry in sorted(found, key=lambda entry: entry.record.seed):
        record = entry.record
        source = "" if record.source == "measured" else record.source
        row = Row(
            method=record.method, recipe=record.recipe, variant=record.variant, epochs=record.epochs, source=source
        )
        cells.setdefault((row, Column.of(entry)), []).append(entry)
    whole = {place: Cell(found=tuple(entries)) for place, entries in cells.items()}
    columns = {column for _, column in whole}
    if not swept:
        quotable = [entry for entry in quotable if "=" not in entry.variant]  # those belong to a sweep
    fits = [(column, entry) for entry in quotable for column in columns if quotes(column, entry)]
    whole |= quoted(fits + rest_of_table_1(quotable, columns))
    several = len({column.versioned for column in columns if column.task in DETECTION}) > 1
    extra = [*extra, *(["Each column group is a protocol of its own."] if several else [])]
    name = re.sub(r"[^\w.+=]+", "-", name)  # of a file and of a label: no slash, no space
    return Table(name=name, benchmark=benchmark, title=title, cells=whole, swept=swept, extra=extra)


def rest_of_table_1(quotable: list[Published], columns: set[Column]) -> list[tuple[Column, Published]]:
    """The other rows of the paper's Table 1, where its own protocol was measured: it mixes four, a column for each."""
    if WHOLE[1] not in {column.protocol for column in columns}:
        return []
    others = [entry for entry in quotable if entry.source == WHOLE[0]]
    return [
        (Column(protocol=entry.protocol, task=entry.task, metric=entry.metric), entry)
        for entry in others
        if not any(quotes(column, entry) for column in columns)
    ]


def quotes(column: Column, entry: Published) -> bool:
    """Whether a paper's number belongs beside a column: its protocol is what every version of ours is meant to be."""
    return (column.protocol, column.task, column.metric) == (entry.protocol, entry.task, entry.metric)


def quoted(numbers: list[tuple[Column, Published]]) -> dict[tuple[Row, Column], Cell]:
    """Published rows; sources that print the same numbers for the same backbone share one."""
    rows: dict[tuple, dict[Column, list[Published]]] = {}
    for column, entry in numbers:
        who = (entry.method, entry.variant, entry.epochs, entry.source)
        rows.setdefault(who, {}).setdefault(column, []).append(entry)
    merged: dict[tuple, list[dict]] = {}
    for (*who, _), printed in rows.items():
        same = (*who, frozenset((column, entries[0].value) for column, entries in printed.items()))
        merged.setdefault(same, []).append(printed)
    cells = {}
    for (method, variant, epochs, _), several in merged.items():
        entries = [entry for printed in several for found in printed.values() for entry in found]
        source = "; ".join(unique([entry.source for entry in entries]))
        row = Row(method=method, recipe="", variant=variant, epochs=epochs, source=source)
        for column in several[0]:
            cells[row, column] = Cell(printed=tuple(e for printed in several for e in printed[column]))
    return cells
