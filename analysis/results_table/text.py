"""Tables to read as text and to compute with: a terminal's, Markdown, CSV."""

import csv
import io
import re
import statistics

from analysis.results_table import deviations
from analysis.results_table.model import ITALICS, MISSING, Column, Row, Table
from analysis.results_table.records import unique
from analysis.results_table.significance import BEST, CLOSE, RULE

LEFT = 2
"""Columns that say which row it is in words, flush left; numbers stand flush right."""

FIELDS = ["method", "name", "recipe", "variant", "epochs", "benchmark", "protocol", "version", "task", "metric"]
FIELDS += ["mean", "std", "n", "seeds", "values", "images", "commits", "weights_sha256", "changed", "source", "caveat"]


def head(table: Table) -> list[str]:
    """The names of all columns; where boxes of two protocols stand side by side, each says which."""
    return [*table.labels, *(group_of(table, column, " ") + column.label for column in table.columns), "seeds"]


def group_of(table: Table, column: Column, end: str = "") -> str:
    """What stands above a column's metric, with the protocol where the table has several for one task."""
    protocols = unique([other.versioned for other in table.columns if other.task == column.task])
    tells = len(protocols) > 1 and column.task != "classification"
    name = f"{column.versioned} {column.group}".strip() if tells else column.group
    return name + end if name else ""


def markdown(table: Table) -> str:
    """The table for a README: numbers flush right, published rows in italics, footnotes below."""

    def word(row: Row, column: Column) -> str:
        text, mark = table.text(row, column), table.marks.get((row, column))
        if row.source and text != MISSING:
            return f"*{text}*"
        return f"**{text}**" if mark == BEST else f"{text} †" if mark == CLOSE else text

    rule = ["---" if k < LEFT else "---:" for k in range(len(head(table)))]
    grid = [[_literal(word) for word in head(table)], rule]
    for row in table.rows:
        words = enumerate(_literal(word) for word in table.label(row))
        labels = [f"*{word}*" if row.source and k != 1 and word != MISSING else word for k, word in words]
        grid.append([*labels, *(word(row, column) for column in table.columns), table.seeds(row)])
    lines = ["| " + " | ".join(line) + " |" for line in grid]
    notes = [f"{note}  " for note in table.footnotes]
    return "\n".join([table.caption, "", *lines, *([""] if notes else []), *notes]).rstrip() + "\n"


def _literal(word: str) -> str:
    """What Markdown shows as it stands."""
    return re.sub(r"([\\|*<`])", r"\\\1", word)


def text(table: Table) -> str:
    """The table for a terminal: columns aligned, the best with a star, published rows below a line of their own."""

    marked = {column for _, column in table.marks}

    def word(row: Row, column: Column) -> str:
        mark = {BEST: " *", CLOSE: " †"}.get(table.marks.get((row, column)), "  " if column in marked else "")
        return table.text(row, column) + mark

    body = [[*table.label(row), *(word(row, c) for c in table.columns), table.seeds(row)] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(head(table), *body, strict=True)]
    lines = [_aligned(head(table), widths)]
    lines.append("-" * len(lines[0]))
    for row, line in zip(table.rows, body, strict=True):
        if row.source and row == next(other for other in table.rows if other.source):
            lines.append("published".center(len(lines[0]), "-"))
        lines.append(_aligned(line, widths))
    notes = [note for note in table.footnotes if note not in (RULE, ITALICS)]
    if BEST in table.marks.values():
        notes.insert(0, "* ahead of every other measured row by more than noise (docs/evaluation.md has the rule)")
    return "\n".join([table.caption, "", *lines, *([""] if notes else []), *notes, ""])


def _aligned(words: list[str], widths: list[int]) -> str:
    cells = zip(words, widths, strict=True)
    return "  ".join(f"{word:<{w}}" if k < LEFT else f"{word:>{w}}" for k, (word, w) in enumerate(cells))


def to_csv(table: Table) -> str:
    """One line per cell with all that is known of it; a missing cell has no value and n = 0."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        for column in table.columns:
            writer.writerow(pedigree(table, row, column))
    return stream.getvalue()


def pedigree(table: Table, row: Row, column: Column) -> dict:
    """A cell with its seeds, values, code and weights, or its source and caveat."""
    cell = table.cells.get((row, column))
    records = [found.record for found in cell.found] if cell else []
    printed = cell.printed[0] if cell and cell.printed else None
    values = cell.values if cell else []
    spread = printed.std if printed else statistics.stdev(values) if len(values) > 1 else None
    return {
        "method": row.method,
        "name": row.name,
        "recipe": row.recipe,
        "variant": row.variant,
        "epochs": row.epochs,
        "benchmark": table.benchmark,
        "protocol": column.protocol,
        "version": column.version,
        "task": column.task,
        "metric": column.metric,
        "mean": f"{statistics.fmean(values):.4f}" if values else "",
        "std": "" if spread is None else f"{spread:.4f}",
        "n": "" if printed and printed.n is None else cell.n if cell else 0,
        "seeds": " ".join(str(record.seed) for record in records),
        "values": " ".join(f"{value:.4f}" for value in values),
        "images": " ".join(unique([str(record.n) for record in records])),
        "commits": " ".join(unique([record.commit for record in records])),
        "weights_sha256": " ".join(record.weights_sha256 or MISSING for record in records),
        "changed": deviations.of_seeds(cell.found) if cell else "",
        "source": row.source or "measured",
        "caveat": "; ".join(unique([entry.caveat for entry in cell.printed if entry.caveat])) if cell else "",
    }
