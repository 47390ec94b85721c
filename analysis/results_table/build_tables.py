"""Which records make which table: detection, classification, representation, and sweeps of one setting.

A detection table is one benchmark under one protocol; a classification table one benchmark and kind of probe, with a
column for every protocol, and ViTs by themselves where their protocols are; a representation table one benchmark and
layer; a sweep the variants ``key=value`` of one method, which then are in no other table. The papers' numbers join
where benchmark, protocol and metric are the same.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from analysis.results_table import published
from analysis.results_table.answers import answers_notes
from analysis.results_table.measurements import Measurement, unique, versioned
from analysis.results_table.model import METRICS, Cell, CellKey, Column, Row, Table
from analysis.results_table.published import Published
from pretrain import backbones
from runtime.results import Record

DETECTION = ("bbox", "segm", "keypoints")

PROBES = {
    "linear": "linear classification",
    "finetune": "fine-tuning on all labels",
    "semi": "classification with a part of the labels",
    "knn": "nearest neighbours",
    "classification": "classification",
}
"""Kinds of probe, and what their tables are called."""

BY_FAMILY = ("linear", "finetune")
"""Kinds whose ViTs have a table of their own: their protocols, and the papers' numbers, are others than of ResNets."""

BESIDE: dict[str, str] = dict.fromkeys(["vitdet-b-100ep", "vitdet-l-100ep", "vitdet-h-75ep"], "lsj-fpn-100ep")
"""Detection protocols, and the published one whose numbers stand in columns of their own beside them: R50-FPN from
scratch, with the augmentation and about the epochs of ViTDet."""

PAPER_TABLE, PAPER_PROTOCOL = "Matrix-SSL Table 1", "linear-matrix-ssl"
"""The paper's table of linear classification, and the protocol of its own rows."""

RANKS = (
    "Ranks over covariance eigenvalues (-cov) and over singular values (-sv, rankme) are two definitions. No rank of n "
    "images exceeds n − 1, and of K classes none between them K − 1; effective_rank.json and spectra.json beside the "
    "records say how many images of each class there were, the intervals, and which values are limited by n."
)

LONGEST_NAME = 120
"""Characters of a table's name, which is the name of its files."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Sweep(NamedTuple):
    """Runs of one recipe that differ in one setting."""

    method: str
    recipe: str
    epochs: int
    setting: str


def build_tables(
    measurements: Sequence[Measurement],
    quotable: Iterable[Published] | None = None,
    *,
    notes: Sequence[str] = (),
    below: Path = Path(),
) -> list[Table]:
    """The tables of ``measurements``, benchmark by benchmark.

    Args:
        quotable: the papers' numbers; those of the suite's file if not given.
        notes: footnotes of every table.
        below: the folder that the measurements' paths start from, where they are not from here.
    """
    papers = published.load() if quotable is None else list(quotable)
    shown = [entry for entry in measurements if entry.record.task == "representation" or entry.record.metric in METRICS]
    swept = sweeps(shown)
    tables = []
    for benchmark, entries in sorted(_grouped(shown, lambda entry: entry.record.benchmark).items()):
        usual = [entry for entry in entries if sweep_of(entry.record) not in swept]
        quotable_here = benchmark in published.QUOTABLE
        quoted = [entry for entry in papers if quotable_here and entry.benchmark == benchmark]
        tables += detection_tables(benchmark, usual, quoted)
        tables += classification_tables(benchmark, usual, quoted)
        tables += language_tables(benchmark, entries, quoted, below)
        tables += representation_tables(benchmark, usual)
        tables += sweep_tables(benchmark, entries, swept, quoted)
    versions = versions_of(shown)
    return _with_own_names(
        [replace(table, notes=[*table.notes, *version_notes(table, versions), *notes]) for table in tables]
    )


def _grouped(entries: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return groups


def _with_own_names(tables: list[Table]) -> list[Table]:
    """The tables; one whose files would be another's too gets a number behind its name."""
    taken: set[str] = set()
    made = []
    for table in tables:
        name, number = table.name, 2
        while name.lower() in taken:  # some file systems do not tell A from a
            name, number = f"{table.name}-{number}", number + 1
        taken.add(name.lower())
        made.append(replace(table, name=name))
    return made


def versions_of(measurements: Sequence[Measurement]) -> dict[str, list[int]]:
    """The protocols that were measured in more than one version, and those versions."""
    versions: dict[str, set[int]] = {}
    for entry in measurements:
        versions.setdefault(entry.record.protocol, set()).add(entry.version)
    return {protocol: sorted(numbers) for protocol, numbers in versions.items() if len(numbers) > 1}


def version_notes(table: Table, versions: dict[str, list[int]]) -> list[str]:
    """What a reader must know of a table that has one of several versions of a protocol."""
    protocols = unique(column.protocol for column in table.columns if column.protocol in versions)
    return [
        f"{protocol} was measured in versions {' and '.join(map(str, versions[protocol]))}, and a version rises when "
        "a protocol's numbers change: they share no column. A result that does not record its version has the first."
        for protocol in protocols
    ]


def detection_tables(benchmark: str, entries: list[Measurement], quoted: list[Published]) -> list[Table]:
    """A table per protocol, with the benchmark's first nearest-neighbour probe beside it if it has one."""
    boxes = [entry for entry in entries if entry.record.task in DETECTION]
    probes = [entry for entry in entries if entry.record.metric == "top1" and probe_kind(entry.record) == "knn"]
    first = min(map(protocol_version, probes), default=None)
    probe = [entry for entry in probes if protocol_version(entry) == first]
    tables = []
    for (protocol, version), group in sorted(_grouped(boxes, protocol_version).items()):
        title = versioned(protocol, version)
        tables.append(pivot(f"{benchmark}-{title}", benchmark, f"protocol {title}", group + probe, quoted))
    return tables


def protocol_version(entry: Measurement) -> tuple[str, int]:
    """The protocol of a record and its version."""
    return entry.record.protocol, entry.version


def classification_tables(benchmark: str, entries: list[Measurement], quoted: list[Published]) -> list[Table]:
    """A table per kind of probe; none for neighbours that the detection tables already show in full."""
    beside_boxes = any(entry.record.task in DETECTION for entry in entries)
    probes = [entry for entry in entries if entry.record.task == "classification"]
    groups = _grouped(probes, lambda entry: probe_kind(entry.record))
    tables = []
    for kind, title in PROBES.items():
        group = groups.get(kind, [])
        columns = {(*protocol_version(entry), entry.record.metric) for entry in group}
        if kind == "knn" and beside_boxes and len(columns) == 1:
            continue  # shown already
        if kind not in BY_FAMILY:
            tables += [pivot(f"{benchmark}-{kind}", benchmark, title, group, quoted)] if group else []
            continue
        for of_vits, ending, more in ((False, "", ""), (True, "-vit", ", ViT")):
            part = [entry for entry in group if is_vit(entry.record.backbone) == of_vits]
            papers = [entry for entry in quoted if is_vit(entry.backbone) == of_vits]
            if part:
                tables.append(pivot(f"{benchmark}-{kind}{ending}", benchmark, title + more, part, papers))
    return tables


def is_vit(backbone: str) -> bool:
    """Whether a network, by its name, is a vision transformer."""
    return backbones.families()["vit"].knows(backbone)


def language_tables(benchmark: str, entries: list[Measurement], quoted: list[Published], below: Path) -> list[Table]:
    """One table of language models; the papers' numbers have a column of their own: they name no protocol."""
    answers = [entry for entry in entries if entry.record.task == "language"]
    if not answers:
        return []
    table = pivot(f"{benchmark}-language", benchmark, "language models, percent of problems solved", answers, [])
    table = replace(table, notes=[*table.notes, *answers_notes(table, below)])
    printed = [entry for entry in quoted if entry.task == "language"]
    columns = [(Column(protocol=entry.protocol, task=entry.task, metric=entry.metric), entry) for entry in printed]
    return [replace(table, cells={**table.cells, **published_cells(columns)})]


def probe_kind(record: Record) -> str:
    """The kind of probe that a protocol is, by the first word of its name."""
    kind = record.protocol.partition("-")[0]
    return kind if kind in PROBES else "classification"


def representation_tables(benchmark: str, entries: list[Measurement]) -> list[Table]:
    """A table per layer; which number is good depends on the measure, so nothing is bold."""
    measures = [entry for entry in entries if entry.record.task == "representation"]
    return [
        pivot(f"{benchmark}-{protocol}", benchmark, f"representation, {protocol}", group, [], notes=[RANKS])
        for protocol, group in sorted(_grouped(measures, lambda entry: entry.record.protocol).items())
    ]


def sweep_of(record: Record) -> Sweep | None:
    """The sweep that a record may belong to, by the setting of its ``key=value`` variant."""
    key, equals, _ = record.variant.rpartition("=")
    if not equals or "," in key or "=" in key or key == "backbone.name":  # networks have a column of their own
        return None
    return Sweep(record.method, record.recipe, record.epochs, key.rpartition(".")[2])


def sweeps(measurements: Sequence[Measurement]) -> set[Sweep]:
    """The sweeps with at least two values."""
    values: dict[Sweep, set[str]] = {}
    for entry in measurements:
        if sweep := sweep_of(entry.record):
            values.setdefault(sweep, set()).add(entry.record.variant)
    return {sweep for sweep, variants in values.items() if len(variants) > 1}


def sweep_tables(benchmark: str, entries: list[Measurement], swept: set[Sweep], quoted: list[Published]) -> list[Table]:
    """A row per value, and one for the recipe as it is, against all that was measured on the benchmark."""
    by_run = _grouped(entries, lambda e: (e.record.method, e.record.recipe, e.record.epochs))
    tables = []
    for sweep in sorted(swept):
        runs = by_run.get(sweep[:3], [])
        papers = [e for e in quoted if e.method == sweep.method and e.variant.rpartition("=")[0] == sweep.setting]
        row = Row(method=sweep.method, recipe=sweep.recipe, variant="", epochs=sweep.epochs)
        for kind, tasks in (("", (*DETECTION, "classification")), ("-representation", ("representation",))):
            varied = [entry for entry in runs if sweep_of(entry.record) == sweep and entry.record.task in tasks]
            if not varied:
                continue
            columns = {Column.of(entry) for entry in varied}
            plain = [entry for entry in runs if not entry.record.variant and Column.of(entry) in columns]
            name = f"{benchmark}-{sweep.method}-{sweep.recipe}-{sweep.setting}{kind}"
            title = f"{row.name} by {sweep.setting}"
            tables.append(pivot(name, benchmark, title, varied + plain, papers, swept_setting=sweep.setting))
    return tables


def pivot(
    name: str,
    benchmark: str,
    title: str,
    entries: list[Measurement],
    quoted: list[Published],
    *,
    swept_setting: str = "",
    notes: Sequence[str] = (),
) -> Table:
    """One table of measurements on one benchmark, and of the papers' numbers that fit its columns."""
    groups: dict[CellKey, list[Measurement]] = {}
    for entry in sorted(entries, key=lambda entry: entry.record.seed):
        groups.setdefault((Row.of(entry), Column.of(entry)), []).append(entry)
    cells = {key: Cell(measured=tuple(group)) for key, group in groups.items()}
    columns = {column for _, column in cells}
    if not swept_setting:
        quoted = [entry for entry in quoted if "=" not in entry.variant]  # those belong to a sweep
    fitting = [(column, entry) for entry in quoted for column in columns if fits(column, entry)]
    cells.update(published_cells(fitting + columns_beside(quoted, columns)))
    several = len({column.versioned for _, column in cells if column.task in DETECTION}) > 1
    return Table(
        name=file_name(name),
        benchmark=benchmark,
        title=title,
        cells=cells,
        swept_setting=swept_setting,
        notes=[*notes, *(["Each column group is a protocol of its own."] if several else [])],
    )


def file_name(name: str) -> str:
    """A name for files and labels: letters, digits and ``_.+=-``, no dot in front, not too long."""
    plain = re.sub(r"[^\w.+=]+", "-", name).lstrip(".-") or "table"
    return plain.encode()[:LONGEST_NAME].decode(errors="ignore")


def columns_beside(quoted: list[Published], columns: set[Column]) -> list[tuple[Column, Published]]:
    """Published numbers of other protocols, in columns of their own: the other rows of the paper's Table 1, which mixes
    four protocols, where its own was measured; and what stands `BESIDE` a measured one."""
    measured = {column.protocol for column in columns}
    beside = {(BESIDE.get(c.protocol), c.task, c.metric) for c in columns}
    return [
        (Column(protocol=entry.protocol, task=entry.task, metric=entry.metric), entry)
        for entry in quoted
        if (entry.source == PAPER_TABLE and PAPER_PROTOCOL in measured)
        or (entry.protocol, entry.task, entry.metric) in beside
        if not any(fits(column, entry) for column in columns)
    ]


def fits(column: Column, entry: Published) -> bool:
    """Whether a paper's number belongs beside a column: every version of our protocol is meant to be the paper's."""
    return (column.protocol, column.task, column.metric) == (entry.protocol, entry.task, entry.metric)


def published_cells(numbers: list[tuple[Column, Published]]) -> dict[CellKey, Cell]:
    """Published rows; sources that print the same numbers for the same backbone share one."""
    by_source: dict[tuple, dict[Column, list[Published]]] = {}
    for column, entry in numbers:
        row = (entry.method, entry.variant, entry.epochs, entry.backbone)
        printed = by_source.setdefault((*row, entry.source), {})
        printed.setdefault(column, []).append(entry)
    same_numbers: dict[tuple, list[dict[Column, list[Published]]]] = {}
    for (*row, _), printed in by_source.items():
        values = frozenset((column, entries[0].value) for column, entries in printed.items())
        same_numbers.setdefault((*row, values), []).append(printed)
    cells: dict[CellKey, Cell] = {}
    for (method, variant, epochs, backbone, _), group in same_numbers.items():
        sources = unique(entry.source for printed in group for entries in printed.values() for entry in entries)
        about = {"method": method, "variant": variant, "epochs": epochs, "backbone": backbone}
        row = Row(recipe="", source="; ".join(sources), **about)
        for column in group[0]:
            cells[row, column] = Cell(published=tuple(entry for printed in group for entry in printed[column]))
    return cells
