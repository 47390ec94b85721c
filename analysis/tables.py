"""Records as tables in the papers' column order: one per benchmark and protocol, mean and spread over seeds.

    python analysis/tables.py runs

Two protocols never share a column: a detection table has the classification probes of its benchmark beside it, each
under a name of its own. Written as Markdown to read and CSV to compute with, below RUNS/results.
"""

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis import records as all_records
from analysis.records import unique
from pretrain import files
from pretrain.command_line import Parser, UserError, run
from pretrain.methods import available, title
from transfer.results import Record

MISSING = "–"

ORDER = {"bbox": "box", "segm": "mask", "classification": ""}
"""Tasks from left to right, and what their columns begin with."""

METRICS = {"AP50": "AP50", "AP": "AP", "AP75": "AP75", "top1": "top-1"}
"""Metrics from left to right, and how they are written. The other sizes and classes stay in the result files."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A pretrained backbone as a table shows it."""

    method: str
    recipe: str
    epochs: int
    source: str

    @property
    def name(self) -> str:
        """The display name; a quoted number carries its source, so that it never looks like a measured one."""
        shown = "random init" if self.method == "random" else self.method
        shown = title(self.method) if self.method in available() else shown
        return shown if self.source == "measured" else f"{shown} [{self.source}]"

    @property
    def labels(self) -> list[str]:
        return [self.name, self.recipe or MISSING, str(self.epochs) if self.epochs else MISSING]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A number that is measured: by which protocol, for which task, which metric."""

    protocol: str
    task: str
    metric: str

    @property
    def name(self) -> str:
        kind = ORDER[self.task] or self.protocol.replace("knn", "kNN")
        return f"{kind} {METRICS[self.metric]}"


@dataclass(frozen=True, kw_only=True)
class Table:
    """One benchmark under one protocol; a cell holds one record per seed."""

    benchmark: str
    protocol: str
    rows: list[Row]
    columns: list[Column]
    cells: dict[tuple[Row, Column], list[Record]]

    @property
    def name(self) -> str:
        return f"{self.benchmark}-{self.protocol}"

    @property
    def head(self) -> list[str]:
        return ["method", "recipe", "epochs", *(column.name for column in self.columns), "seeds"]

    def lines(self) -> list[list[str]]:
        """What is printed, row by row."""
        return [[*row.labels, *self.shown(row), str(self.seeds(row))] for row in self.rows]

    def seeds(self, row: Row) -> int:
        """Over how many seeds the fullest cell of a row is averaged."""
        return max(len(self.cells.get((row, column), [])) for column in self.columns)

    def shown(self, row: Row) -> list[str]:
        """The cells of a row; one averaged over fewer seeds than the row says so itself."""
        texts = []
        for column in self.columns:
            found = self.cells.get((row, column), [])
            fewer = f" (n={len(found)})" if 0 < len(found) < self.seeds(row) else ""
            texts.append(mean_and_spread([record.value for record in found]) + fewer)
        return texts

    def caption(self) -> str:
        images = unique([r.n for records in self.cells.values() for r in records if r.protocol == self.protocol])
        counted = f", {' or '.join(map(str, images))} images" if images else ""
        return f"{self.benchmark}, protocol {self.protocol}{counted}; percent, mean ± standard deviation over seeds"

    def markdown(self) -> str:
        """The table for a README: numbers flush right."""
        rule = ["---" if k < 2 else "---:" for k in range(len(self.head))]
        lines = ["| " + " | ".join(line) + " |" for line in [self.head, rule, *self.lines()]]
        return "\n".join([self.caption(), "", *lines, ""])

    def text(self) -> str:
        """The table for a terminal, columns aligned."""
        grid = [self.head, *self.lines()]
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        padded = [
            "  ".join(
                f"{word:<{w}}" if k < 2 else f"{word:>{w}}"
                for k, (word, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in grid
        ]
        return "\n".join([self.caption(), "", padded[0], "-" * len(padded[0]), *padded[1:], ""])

    def csv(self) -> str:
        """One line per cell with all that is known of it; a missing cell has no value and n = 0."""
        fields = ["method", "name", "recipe", "epochs", "benchmark", "protocol", "task", "metric", "mean", "std", "n"]
        fields += ["seeds", "values", "images", "commits", "weights_sha256", "source"]
        text = io.StringIO()
        writer = csv.DictWriter(text, fields, lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            for column in self.columns:
                writer.writerow(self.pedigree(row, column))
        return text.getvalue()

    def pedigree(self, row: Row, column: Column) -> dict:
        """A cell with its seeds, values, code and weights."""
        found = self.cells.get((row, column), [])
        values = [record.value for record in found]
        return {
            "method": row.method,
            "name": row.name,
            "recipe": row.recipe,
            "epochs": row.epochs,
            "benchmark": self.benchmark,
            "protocol": column.protocol,
            "task": column.task,
            "metric": column.metric,
            "mean": f"{statistics.fmean(values):.4f}" if values else "",
            "std": f"{statistics.stdev(values):.4f}" if len(values) > 1 else "",
            "n": len(values),
            "seeds": " ".join(str(record.seed) for record in found),
            "values": " ".join(f"{value:.4f}" for value in values),
            "images": " ".join(unique([str(record.n) for record in found])),
            "commits": " ".join(unique([record.commit for record in found])),
            "weights_sha256": " ".join(record.weights_sha256 or MISSING for record in found),
            "source": row.source,
        }


def mean_and_spread(values: Sequence[float]) -> str:
    """``[12.3, 12.7]`` -> ``12.5 ± 0.3`` (sample standard deviation); one value has no spread, none is missing."""
    if not values:
        return MISSING
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


def build(records: Sequence[Record]) -> list[Table]:
    """The tables of ``records``, benchmark by benchmark."""
    shown = [record for record in records if record.task in ORDER and record.metric in METRICS]
    tables = []
    for benchmark in sorted({record.benchmark for record in shown}):
        here = [record for record in shown if record.benchmark == benchmark]
        probes = [record for record in here if record.task == "classification"]
        detections = [record for record in here if record.task != "classification"]
        for protocol in sorted({record.protocol for record in detections}):
            tables.append(pivot(protocol, [r for r in detections if r.protocol == protocol] + probes))
        if not detections:
            tables.append(pivot("+".join(sorted({record.protocol for record in probes})), probes))
    return tables


def pivot(protocol: str, records: Sequence[Record]) -> Table:
    """One table of records of one benchmark."""
    cells: dict[tuple[Row, Column], list[Record]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        row = Row(method=record.method, recipe=record.recipe, epochs=record.epochs, source=record.source)
        column = Column(protocol=record.protocol, task=record.task, metric=record.metric)
        cells.setdefault((row, column), []).append(record)
    return Table(
        benchmark=records[0].benchmark,
        protocol=protocol,
        rows=sorted({row for row, _ in cells}, key=lambda row: (row.method != "random", row.name.lower(), row.epochs)),
        columns=sorted({column for _, column in cells}, key=place),
        cells=cells,
    )


def place(column: Column) -> tuple:
    """Where a column stands: by task, then protocol, then metric."""
    return list(ORDER).index(column.task), column.protocol, list(METRICS).index(column.metric)


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="tables.py", description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, metavar="RUNS", help="the folder whose result.json files are collected")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the tables (RUNS/results)")
    options = parser.parse_args(argv)
    tables = build(all_records.collect(options.runs))
    if not tables:
        raise UserError(f"no result.json below {options.runs}; run the stage transfer first")
    out = options.out or options.runs / "results"
    for table in tables:
        files.write_text(out / f"{table.name}.md", table.markdown())
        files.write_text(out / f"{table.name}.csv", table.csv())
        print(table.text())
    print("\n".join(f"written: {out / table.name}.md and .csv" for table in tables))


if __name__ == "__main__":
    run(main)
