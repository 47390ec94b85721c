"""A table: rows are pretrained backbones, columns what was measured, a cell a record per seed or a paper's number."""

import re
from dataclasses import dataclass, field
from functools import cache, cached_property

from analysis.results_table import deviations, significance
from analysis.results_table.measurements import FIRST_VERSION, Measurement, unique, versioned
from analysis.results_table.published import FOREIGN_METHODS, Published
from pretrain.backbones import USUAL
from pretrain.methods import available, title

MISSING = "–"

TASKS = {
    "bbox": "box",
    "segm": "mask",
    "keypoints": "keypoint",
    "classification": "",
    "representation": "",
    "language": "",
}
"""Tasks from left to right, and what their columns begin with."""

METRICS = {"AP50": "AP50", "AP": "AP", "AP75": "AP75", "top1": "top-1", "top5": "top-5", "accuracy": "accuracy"}
"""Metrics from left to right, and how they are written. The other sizes and classes stay in the result files."""

ITALICS = "In italics: published, not measured here; a dash for seeds where the source does not say."

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@cache
def method_titles() -> dict[str, str]:
    """Method -> its display name."""
    return FOREIGN_METHODS | {name: title(name) for name in available()}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A pretrained backbone as a table shows it."""

    method: str
    recipe: str
    variant: str
    epochs: int
    backbone: str = USUAL
    """Name of the network."""
    source: str = ""
    """Every place in which a paper's row was read; empty for a measured row."""

    @classmethod
    def of(cls, measurement: Measurement) -> "Row":
        """The row of a measurement."""
        record = measurement.record
        source = "" if record.source == "measured" else record.source
        row = {"method": record.method, "recipe": record.recipe, "variant": record.variant, "epochs": record.epochs}
        return cls(**row, backbone=record.backbone or USUAL, source=source)

    @property
    def name(self) -> str:
        """The display name."""
        return method_titles().get(self.method, self.method)

    @property
    def label(self) -> str:
        return f"{self.name} ({self.variant})" if self.variant else self.name

    @property
    def address(self) -> str:
        """``Matrix-SSL/demo/8ep``."""
        network = "" if self.backbone == USUAL else self.backbone
        parts = (self.label, network, self.recipe, f"{self.epochs}ep" if self.epochs else "")
        return "/".join(part for part in parts if part)

    @property
    def sort_key(self) -> tuple:
        """Measured before published, from scratch first, then by name and length."""
        return (
            bool(self.source),
            self.method != "random",
            self.name.lower(),
            self.backbone != USUAL,
            self.backbone,
            self.epochs,
            variant_sort_key(self.variant),
        )


def variant_sort_key(variant: str) -> tuple:
    """``gamma=0.3`` sorts by its number, other variants by their letters, none first."""
    setting, _, value = variant.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = float("inf")
    return variant != "", setting, number, value


@dataclass(frozen=True, kw_only=True)
class Column:
    """A number that is measured: by which protocol, for which task, which metric."""

    protocol: str
    task: str
    metric: str
    version: int = FIRST_VERSION
    """Of the protocol."""

    @classmethod
    def of(cls, measurement: Measurement) -> "Column":
        """The column of a measurement."""
        record = measurement.record
        return cls(protocol=record.protocol, version=measurement.version, task=record.task, metric=record.metric)

    @property
    def versioned(self) -> str:
        """The protocol with its version, ``moco-c4-1x v2``; the first is not spelled out."""
        return versioned(self.protocol, self.version)

    @property
    def group(self) -> str:
        """The head above the metric: box and mask, or the protocol of a probe."""
        return TASKS[self.task] or (self.versioned.replace("knn", "kNN") if self.task == "classification" else "")

    @property
    def label(self) -> str:
        return METRICS.get(self.metric, self.metric)

    @property
    def name(self) -> str:
        return f"{self.group} {self.label}".strip()

    @property
    def sort_key(self) -> tuple:
        """By task, then protocol, then metric."""
        metrics = list(METRICS)
        order = metrics.index(self.metric) if self.metric in METRICS else len(metrics)
        parts = re.split(r"(\d+)", self.versioned)  # 1 percent before 10
        protocol = tuple(int(part) if k % 2 else part for k, part in enumerate(parts))
        return list(TASKS).index(self.task), protocol, order, self.metric


@dataclass(frozen=True)
class Cell:
    """One row in one column: measurements of several seeds, or what papers print."""

    measured: tuple[Measurement, ...] = ()
    published: tuple[Published, ...] = ()

    @property
    def values(self) -> list[float]:
        return [entry.record.value for entry in self.measured] or [entry.value for entry in self.published[:1]]

    @property
    def n(self) -> int | None:
        """Seeds averaged; None where a paper does not say."""
        return len(self.measured) or self.published[0].n

    def text(self, *, percent: bool) -> str:
        """Mean and spread, over our seeds or as published."""
        if self.published and self.published[0].std is not None:
            return f"{self.published[0].value:.1f} ± {self.published[0].std:.1f}"
        return significance.mean_and_spread(self.values, percent=percent)

    @property
    def caveats(self) -> list[str]:
        return unique(entry.caveat for entry in self.published if entry.caveat)


CellKey = tuple[Row, Column]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows and columns of one benchmark; two protocols never share a column."""

    name: str
    """Of its files."""
    benchmark: str
    title: str
    cells: dict[CellKey, Cell]
    swept_setting: str = ""
    """The setting that differs from row to row, if the table is a sweep."""
    notes: list[str] = field(default_factory=list)
    """Footnotes of its own."""

    @cached_property
    def rows(self) -> list[Row]:
        return sorted(unique(row for row, _ in self.cells), key=lambda row: row.sort_key)

    @cached_property
    def columns(self) -> list[Column]:
        return sorted(unique(column for _, column in self.cells), key=lambda column: column.sort_key)

    @cached_property
    def measured_rows(self) -> list[Row]:
        return [row for row in self.rows if not row.source]

    @property
    def published_rows(self) -> list[Row]:
        return self.rows[len(self.measured_rows) :]

    @cached_property
    def percent(self) -> bool:
        return all(column.task != "representation" for column in self.columns)

    # Heads and labels

    @property
    def row_heads(self) -> list[str]:
        """The heads of the columns that say which row it is."""
        return [self.swept_setting or "method", *["backbone"] * self.names_backbones, "recipe", "epochs"]

    @cached_property
    def names_backbones(self) -> bool:
        """Whether the rows are of several networks."""
        return len({row.backbone for row in self.rows}) > 1

    @property
    def text_columns(self) -> int:
        """Columns, from the left, that name the row in words and are flush left; numbers are flush right."""
        return len(self.row_heads) - 1

    @property
    def heads(self) -> list[str]:
        """The names of all columns; where boxes of two protocols are side by side, each says which."""
        groups = [self.group(column) for column in self.columns]
        names = [f"{group} {column.label}".strip() for group, column in zip(groups, self.columns, strict=True)]
        return [*self.row_heads, *names, "seeds"]

    def group(self, column: Column) -> str:
        """The head above a column's metric, with the protocol where the table has several for one task."""
        if column.task == "classification" or len(self._protocols[column.task]) < 2:
            return column.group
        return f"{column.versioned} {column.group}".strip()

    @cached_property
    def _protocols(self) -> dict[str, set[str]]:
        protocols: dict[str, set[str]] = {}
        for column in self.columns:
            protocols.setdefault(column.task, set()).add(column.versioned)
        return protocols

    def row_labels(self, row: Row) -> list[str]:
        """Which row it is, a text for each of ``row_heads``; a published one names its footnote."""
        name = row.label
        if self.swept_setting:
            name = row.variant.rpartition("=")[2] or "recipe's own"
        recipe = f"published [{footnote_letter(self._source_numbers[row])}]" if row.source else row.recipe or MISSING
        network = [row.backbone] if self.names_backbones else []
        return [name, *network, recipe, str(row.epochs) if row.epochs else MISSING]

    # Cells

    def text(self, row: Row, column: Column) -> str:
        """A cell without its marks; one averaged over fewer seeds than its row says so itself."""
        cell = self.cells.get((row, column))
        if cell is None:
            return MISSING
        fewer = not row.source and str(cell.n) != self.seeds(row)
        mark = f" {deviations.MARK}" if (row, column) in self.deviations else ""
        return cell.text(percent=self.percent) + (f" (n={cell.n})" if fewer else "") + mark

    def seeds(self, row: Row) -> str:
        """Over how many seeds the fullest cell of a row is averaged."""
        n = self._most_seeds.get(row, 0)
        return str(n) if n else MISSING

    @cached_property
    def _most_seeds(self) -> dict[Row, int]:
        most: dict[Row, int] = {}
        for (row, _), cell in self.cells.items():
            most[row] = max(most.get(row, 0), cell.n or 0)
        return most

    @cached_property
    def marks(self) -> dict[CellKey, str]:
        """Cells to be set in bold or with a dagger, by the rule of
        ``analysis.results_table.significance``; published ones never are."""
        marks = {}
        for column in self.columns if self.percent else ():
            cells = {row: self.cells[row, column] for row in self.measured_rows if (row, column) in self.cells}
            if len({self.deviations.get((row, column), "") for row in cells}) > 1:
                continue  # runs under different settings are not compared
            if column in self.image_counts:
                continue  # nor are runs on different images
            values = {row: cell.values for row, cell in cells.items()}
            for row, mark in significance.marks(values, images=self._fewest_images(column)).items():
                marks[row, column] = mark
        return marks

    @cached_property
    def deviations(self) -> dict[CellKey, str]:
        """Cells of runs that were not under their protocol's own settings, and what was changed."""
        return {
            key: deviations.of_seeds(cell.measured)
            for key, cell in self.cells.items()
            if any(deviations.deviation(entry) for entry in cell.measured)
        }

    def _deviations_of_rows(self) -> dict[str, str]:
        """Row -> what was changed in its runs, under the heads of the columns where these say different things."""
        rows = {}
        for row in unique(row for row, _ in self.deviations):
            columns = [column for column in self.columns if (row, column) in self.deviations]
            texts = [self.deviations[row, column] for column in columns]
            heads = [self.group(column) or column.label for column in columns]
            named = unique(f"{head}: {text}" for head, text in zip(heads, texts, strict=True))
            rows[row.address] = texts[0] if len(set(texts)) == 1 else "; ".join(named)
        return rows

    @cached_property
    def image_counts(self) -> dict[Column, list[int]]:
        """Columns of percentages whose records are not all of as many images, and how many they are of."""
        counts: dict[Column, set[int]] = {}
        for (_, column), cell in self.cells.items():
            if column.task != "representation":
                counts.setdefault(column, set()).update(entry.record.n for entry in cell.measured)
        return {column: sorted(counts[column]) for column in self.columns if len(counts.get(column, ())) > 1}

    def _fewest_images(self, column: Column) -> int | None:
        """The fewest images that an accuracy of a column was counted on; None for other metrics."""
        if column.task not in ("classification", "language"):
            return None
        cells = [self.cells[row, column] for row in self.measured_rows if (row, column) in self.cells]
        return min((entry.record.n for cell in cells for entry in cell.measured), default=None)

    # Words around the table

    @property
    def caption(self) -> str:
        measured = {column for (_, column), cell in self.cells.items() if cell.measured}
        # the probes beside a detector have images of their own
        first = next((column.versioned for column in self.columns if column in measured), "")
        counts = {
            entry.record.n
            for (_, column), cell in self.cells.items()
            if column.versioned == first
            for entry in cell.measured
        }
        things = "questions" if self.columns[0].task == "language" else "images"
        images = f", {' or '.join(map(str, sorted(counts)))} {things}" if counts else ""
        unit = "percent, " if self.percent else ""
        return f"{self.benchmark}, {self.title}{images}; {unit}mean ± standard deviation over seeds"

    @cached_property
    def sources(self) -> list[str]:
        """The footnotes of published rows: source and caveats, each once, in the order of the rows."""
        return unique(self._sources.values())

    @cached_property
    def _sources(self) -> dict[Row, str]:
        sources = {}
        for row in self.published_rows:
            cells = [self.cells[row, column] for column in self.columns if (row, column) in self.cells]
            caveats = unique(caveat for cell in cells for caveat in cell.caveats)
            sources[row] = f"{row.source}: {'; '.join(caveats)}" if caveats else row.source
        return sources

    @cached_property
    def _source_numbers(self) -> dict[Row, int]:
        numbers = {source: number for number, source in enumerate(self.sources)}
        return {row: numbers[source] for row, source in self._sources.items()}

    @cached_property
    def footnotes(self) -> list[str]:
        """What a reader must know, the sources of published rows last."""
        notes = list(self.notes)
        if self.percent and len(self.measured_rows) > 1:
            notes.append(significance.RULE)
        if significance.CLOSE in self.marks.values():
            notes.append(significance.CLOSE_NOTE)
        if self.image_counts:
            counts = "; ".join(unique(" and ".join(map(str, numbers)) for numbers in self.image_counts.values()))
            names = ", ".join(column.name for column in self.image_counts)
            notes.append(f"Measured on {counts} images, which are not the same ones ({names}): none is bold.")
        if self.deviations:
            notes.append(deviations.note(self._deviations_of_rows()))
        if self.sources:
            notes.append(ITALICS)
        return notes + [f"[{footnote_letter(number)}] {source}" for number, source in enumerate(self.sources)]


def footnote_letter(number: int) -> str:
    """0, 1, ... -> a, b, ..., z, aa, ab, ..."""
    first, last = divmod(number, len(LETTERS))
    return (footnote_letter(first - 1) if first else "") + LETTERS[last]
