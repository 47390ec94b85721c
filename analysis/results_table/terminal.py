"""Tables for a terminal: columns aligned, the best with a star, published rows below a line of their own."""

from analysis.results_table.model import ITALICS, Column, Row, Table
from analysis.results_table.significance import BEST, CLOSE, RULE
from runtime.command_line import printable
from runtime.text_grid import aligned

BEST_NOTE = "* ahead of every other measured row by more than noise (docs/evaluation.md has the rule)"

MOST_ROWS = 100
"""Rows that are printed; the files have all."""


def text(table: Table, *, most_rows: int = MOST_ROWS) -> str:
    """The table as text; of one with more than ``most_rows`` rows the first, and a line that says how many more."""
    rows = table.rows[:most_rows]
    marked = {column for _, column in table.marks}
    lines = aligned([table.heads, *(_line(table, row, marked) for row in rows)], left=table.text_columns)
    rule = "-" * len(lines[0])
    measured = [line for row, line in zip(rows, lines[1:], strict=True) if not row.source]
    published = lines[1 + len(measured) :]
    body = [lines[0], rule, *measured]
    if published:
        body += ["published".center(len(rule), "-"), *published]
    if len(table.rows) > len(rows):
        body.append(f"and {len(table.rows) - len(rows)} more rows, in the files of the table")
    notes = [note for note in table.footnotes if note not in (RULE, ITALICS)]
    if BEST in table.marks.values():
        notes.insert(0, BEST_NOTE)
    notes = [printable(note) for note in notes]
    return "\n".join([printable(table.caption), "", *body, *([""] if notes else []), *notes, ""])


def _line(table: Table, row: Row, marked: set[Column]) -> list[str]:
    cells = []
    for column in table.columns:
        mark = {BEST: " *", CLOSE: " †"}.get(table.marks.get((row, column), ""), "  " if column in marked else "")
        cells.append(table.text(row, column) + mark)
    return [*table.row_labels(row), *cells, table.seeds(row)]
