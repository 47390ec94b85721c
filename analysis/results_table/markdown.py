"""Tables for a README: Markdown with numbers flush right, published rows in italics, footnotes below."""

from analysis.results_table.model import MISSING, Column, Row, Table
from analysis.results_table.quote import for_markdown
from analysis.results_table.significance import BEST, CLOSE

RECIPE = 1
"""The column that names the footnote of a published row, upright."""


def markdown(table: Table) -> str:
    """The table and its footnotes."""
    lines = [
        list(map(for_markdown, table.heads)),
        ["---" if k < table.text_columns else "---:" for k in range(len(table.heads))],
        *(_line(table, row) for row in table.rows),
    ]
    notes = [f"{for_markdown(note)}  " for note in table.footnotes]
    body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([for_markdown(table.caption), "", *body, *([""] if notes else []), *notes]).rstrip() + "\n"


def _line(table: Table, row: Row) -> list[str]:
    labels = [
        _italic(text) if row.source and k != RECIPE else for_markdown(text)
        for k, text in enumerate(table.row_labels(row))
    ]
    return [*labels, *(_cell(table, row, column) for column in table.columns), table.seeds(row)]


def _cell(table: Table, row: Row, column: Column) -> str:
    text, mark = table.text(row, column), table.marks.get((row, column))
    if row.source:
        return _italic(text)
    return f"**{text}**" if mark == BEST else f"{text} †" if mark == CLOSE else text


def _italic(text: str) -> str:
    return text if text == MISSING else f"*{for_markdown(text)}*"
