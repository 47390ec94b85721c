"""A table: rows are pretrained backbones, columns what was measured, a cell a record per seed or a paper's number."""

import re
from dataclasses import dataclass, field
from functools import cached_property

from analysis.results_table import deviations, significance
from analysis.results_table.published import FOREIGN_METHODS, Published
from analysis.results_table.records import FIRST_VERSION, Found, unique, versioned
from pretrain.methods import available, title

MISSING = "–"

TASKS = {"bbox": "box", "segm": "mask", "keypoints": "keypoint", "classification": "", "representation": ""}
"""Tasks from left to right, and what their columns begin with."""

METRICS = {"AP50": "AP50", "AP": "AP", "AP75": "AP75", "top1": "top-1", "top5": "top-5"}
"""Metrics from left to right, and how they are written. The other sizes and classes stay in the result files."""

ITALICS = "In italics: published, not measured here; a dash for seeds where the source does not say."


@dataclass(frozen=True, kw_only=True)
class Row:
    """A pretrained backbone as a table shows it."""

    method: str
    recipe: str
    variant: str
    epochs: int
    source: str = ""
    """Where a paper's row was read, all places of it; empty for a measured row."""

    @property
    def name(self) -> str:
        """The display name."""
        known = FOREIGN_METHODS | {name: title(name) for name in available()}
        return known.get(self.method, self.method)

    @property
    def label(self) -> str:
        return f"{self.name} ({self.variant})" if self.variant else self.name

    @property
    def address(self) -> str:
        """``Matrix-SSL/demo/8ep``."""
        return "/".join(word for word in (self.label, self.recipe, f"{self.epochs}ep" if self.epochs else "") if word)

    @property
    def place(self) -> tuple:
        """Where a row stands: measured before published, from scratch first, then by name and length."""
        return bool(self.source), self.method != "random", self.name.lower(), self.epochs, numeric(self.variant)


def numeric(variant: str) -> tuple:
    """``gamma=0.3`` sorts by its number, other variants by their letters, none first."""
    word = variant.rpartition("=")[2]
    try:
        return variant != "", variant.rpartition("=")[0], float(word), word
    except ValueError:
        return variant != "", variant.rpartition("=")[0], float("inf"), word


@dataclass(frozen=True, kw_only=True)
class Column:
    """A number that is measured: by which protocol, for which task, which metric."""

    protocol: str
    task: str
    metric: str
    version: int = FIRST_VERSION
    """Of the protocol."""

    @classmethod
    def of(cls, found: Found) -> "Column":
        """The column of a record."""
        record = found.record
        return cls(protocol=record.protocol, version=found.version, task=record.task, metric=record.metric)

    @property
    def versioned(self) -> str:
        """The protocol with its version, ``moco-c4-1x v2``; the first is not spelled out."""
        return versioned(self.protocol, self.version)

    @property
    def group(self) -> str:
        """What stands above the metric: box and mask, or the protocol of a probe."""
        return TASKS[self.task] or (self.versioned.replace("knn", "kNN") if self.task == "classification" else "")

    @property
    def label(self) -> str:
        return METRICS.get(self.metric, self.metric)

    @property
    def name(self) -> str:
        return f"{self.group} {self.label}".strip()

    @property
    def place(self) -> tuple:
        """Where a column stands: by task, then protocol, then metric."""
        order = list(METRICS).index(self.metric) if self.metric in METRICS else len(METRICS)
        words = re.split(r"(\d+)", self.versioned)  # 1 percent stands before 10
        protocol = tuple(int(word) if k % 2 else word for k, word in enumerate(words))
        return list(TASKS).index(self.task), protocol, order, self.metric


@dataclass(frozen=True)
class Cell:
    """What is known of one row in one column: records of several seeds, or what papers print."""

    found: tuple[Found, ...] = ()
    printed: tuple[Published, ...] = ()

    @property
    def values(self) -> list[float]:
        return [entry.record.value for entry in self.found] or [entry.value for entry in self.printed[:1]]

    @property
    def n(self) -> int | None:
        """Seeds averaged; None where a paper does not say."""
        return len(self.found) or self.printed[0].n

    def text(self, *, percent: bool) -> str:
        """Mean and spread, over our seeds or as printed."""
        if self.printed and self.printed[0].std is not None:
            return f"{self.printed[0].value:.1f} ± {self.printed[0].std:.1f}"
        return significance.mean_and_spread(self.values, percent=percent)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows and columns of one benchmark; two protocols never share a column."""

    name: str
    """Of its files."""
    benchmark: str
    title: str
    cells: dict[tuple[Row, Column], Cell]
    swept: str = ""
    """The setting that differs from row to row, if the table is a sweep."""
    extra: list[str] = field(default_factory=list)
    """Footnotes of its own."""

    @cached_property
    def rows(self) -> list[Row]:
        return sorted(unique([row for row, _ in self.cells]), key=lambda row: row.place)

    @cached_property
    def columns(self) -> list[Column]:
        return sorted(unique([column for _, column in self.cells]), key=lambda column: column.place)

    @property
    def percent(self) -> bool:
        return all(column.task != "representation" for column in self.columns)

    @property
    def labels(self) -> list[str]:
        """The heads of the columns that say which row it is."""
        return [self.swept or "method", "recipe", "epochs"]

    def label(self, row: Row) -> list[str]:
        """Which row it is; a published one names its footnote."""
        name = row.label
        if self.swept:
            name = row.variant.rpartition("=")[2] or "recipe's own"
        recipe = f"published [{self.letter(row)}]" if row.source else row.recipe or MISSING
        return [name, recipe, str(row.epochs) if row.epochs else MISSING]

    def letter(self, row: Row) -> str:
        """The footnote of a published row."""
        place = self.sources.index(_source(row, self))
        return chr(ord("a") + place) if place < 26 else f"a{chr(ord('a') + place - 26)}"

    @cached_property
    def sources(self) -> list[str]:
        """The footnotes of published rows: source and caveats, each once, in the order of the rows."""
        return unique([_source(row, self) for row in self.rows if row.source])

    @cached_property
    def marks(self) -> dict[tuple[Row, Column], str]:
        """Cells to be set in bold or with a dagger, by the rule of
        ``analysis.results_table.significance``; published ones never are."""
        found = {}
        for column in self.columns if self.percent else ():
            if len({self.departed.get((row, column), "") for row in self.measured if (row, column) in self.cells}) > 1:
                continue  # runs under different settings are not compared
            if column in self.uneven:
                continue  # nor are runs on different images
            measured = {row: self.cells[row, column].values for row in self.measured if (row, column) in self.cells}
            marked = significance.marks(measured, counted=self.counted(column))
            found |= {(row, column): mark for row, mark in marked.items()}
        return found

    @cached_property
    def departed(self) -> dict[tuple[Row, Column], str]:
        """Cells of runs that were not under their protocol's own settings, and what was changed."""
        departed = {
            place: cell.found for place, cell in self.cells.items() if any(map(deviations.departure, cell.found))
        }
        return {place: deviations.of_seeds(found) for place, found in departed.items()}

    @cached_property
    def uneven(self) -> dict[Column, list[int]]:
        """Columns of percentages whose records are not all of as many images, and how many they are of."""
        counts = {column: set() for column in self.columns if column.task != "representation"}
        for (_, column), cell in self.cells.items():
            counts.get(column, set()).update(entry.record.n for entry in cell.found)
        return {column: sorted(numbers) for column, numbers in counts.items() if len(numbers) > 1}

    def counted(self, column: Column) -> int | None:
        """The fewest images that an accuracy of a column was counted on; None for other metrics."""
        if column.task != "classification":
            return None
        cells = [self.cells[row, column] for row in self.measured if (row, column) in self.cells]
        return min((entry.record.n for cell in cells for entry in cell.found), default=None)

    @property
    def measured(self) -> list[Row]:
        return [row for row in self.rows if not row.source]

    def seeds(self, row: Row) -> str:
        """Over how many seeds the fullest cell of a row is averaged."""
        known = [self.cells[row, column].n for column in self.columns if (row, column) in self.cells]
        return str(max((n for n in known if n), default=MISSING))

    def text(self, row: Row, column: Column) -> str:
        """A cell without its marks; one averaged over fewer seeds than its row says so itself."""
        cell = self.cells.get((row, column))
        if cell is None:
            return MISSING
        fewer = not row.source and str(cell.n) != self.seeds(row)
        mark = f" {deviations.MARK}" if (row, column) in self.departed else ""
        return cell.text(percent=self.percent) + (f" (n={cell.n})" if fewer else "") + mark

    @property
    def caption(self) -> str:
        first = self.columns[0].versioned  # the probes beside a detector have images of their own
        found = [found for (_, column), cell in self.cells.items() if column.versioned == first for found in cell.found]
        images = unique([entry.record.n for entry in found])
        counted = f", {' or '.join(map(str, sorted(images)))} images" if images else ""
        unit = "percent, " if self.percent else ""
        return f"{self.benchmark}, {self.title}{counted}; {unit}mean ± standard deviation over seeds"

    @property
    def footnotes(self) -> list[str]:
        """What a reader must know, the sources of published rows last."""
        notes = list(self.extra)
        if self.percent and len(self.measured) > 1:
            notes.append(significance.RULE)
        if significance.CLOSE in self.marks.values():
            notes.append(significance.CLOSE_NOTE)
        if self.uneven:
            said = unique([" and ".join(map(str, numbers)) for numbers in self.uneven.values()])
            which = ", ".join(column.name for column in self.uneven)
            notes.append(f"Measured on {'; '.join(said)} images, which are not the same ones ({which}): none is bold.")
        if self.departed:
            who = {row.address: words for (row, _), words in self.departed.items()}
            notes.append(deviations.note(who))
        if self.sources:
            notes.append(ITALICS)
        return notes + [f"[{self._letter_at(k)}] {source}" for k, source in enumerate(self.sources)]

    @staticmethod
    def _letter_at(place: int) -> str:
        return chr(ord("a") + place) if place < 26 else f"a{chr(ord('a') + place - 26)}"


def _source(row: Row, table: Table) -> str:
    cells = [table.cells[row, column] for column in table.columns if (row, column) in table.cells]
    caveats = unique([entry.caveat for cell in cells for entry in cell.printed if entry.caveat])
    return ": ".join([row.source, "; ".join(caveats)]) if caveats else row.source
