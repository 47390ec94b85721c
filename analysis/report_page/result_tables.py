"""The tables of the report, and behind every cell the records or the papers it was made of."""

from collections.abc import Sequence

from analysis.report_page.markup import Section, details, escape, paragraph
from analysis.results_table.deviations import conditions
from analysis.results_table.explain import cell_address
from analysis.results_table.html import fragment
from analysis.results_table.model import MISSING, Cell, Column, Row, Table

HOW_TO_READ = (
    "Upright rows were measured here; rows in italics on grey are quoted from papers. A click on a number shows where "
    "it comes from, a click on the head of a column sorts by it."
)

MOST_TABLE_ROWS = 100
"""Measured rows of one table in the page; the files beside it have all."""

MOST_TABLES = 60

MOST_RECORDS = 2500
"""Records behind cells in one page, at about 300 bytes each."""


def section(tables: Sequence[Table], faults: Sequence[str] = ()) -> Section:
    """Every table with the provenance of its cells; ``faults`` say what is left out, or why there are none."""
    parts = [paragraph(fault, "notice") for fault in faults]
    parts += [paragraph(HOW_TO_READ, "note")] if tables else []
    records = 0
    for table in tables[:MOST_TABLES]:
        rows = table.measured_rows[:MOST_TABLE_ROWS] + table.published_rows
        cells = [(row, column) for row in rows for column in table.columns if (row, column) in table.cells]
        explained = []
        for cell in cells:
            records += max(1, len(table.cells[cell].measured))
            if records <= MOST_RECORDS:
                explained.append(cell)
        parts.append(one_table(table, rows, explained, len(cells)))
    if len(tables) > MOST_TABLES:
        parts.append(paragraph(f"{len(tables) - MOST_TABLES} more tables are in RUNS/results.", "note"))
    return Section(id="results", title="Results", body="".join(parts))


def one_table(table: Table, rows: Sequence[Row], explained: Sequence[tuple[Row, Column]], cells: int) -> str:
    """A table, and its cells spelled out below it."""
    files = f"RUNS/results/{table.name}.html and .csv"
    notes = ""
    if len(table.rows) > len(rows):
        count = f"The first {MOST_TABLE_ROWS} of {len(table.measured_rows)} measured rows"
        notes += paragraph(f"{count}; {files} have all.", "note")
    if len(explained) < cells:
        notes += paragraph(f"Where the other {cells - len(explained)} numbers come from: {files}.", "note")
    articles = "".join(provenance(table, *cell) for cell in explained)
    spelled = details(f"Where {len(explained)} numbers come from", articles) if explained else ""
    title = escape(f"{table.benchmark}: {table.title}")
    body = fragment(table, rows, provenance=False)
    return f'<section class="table">\n<h3>{title}</h3>\n{body}{notes}{spelled}</section>\n'


def provenance(table: Table, row: Row, column: Column) -> str:
    """A cell's records with seed, value, code, weights, file and n; or its sources and caveats."""
    cell, about = table.cells[row, column], cell_address(table, row, column)
    title = f"{row.label}, {column.name}: {cell.text(percent=table.percent)}"
    kind = "published" if row.source else "measured"
    body = published(cell) if row.source else measured(cell)
    return (
        f'<article class="{kind}" data-about="{escape(about)}"><h4>{escape(title)}</h4>\n'
        f'<p class="note">{kind}, {escape(about)}</p>\n{body}</article>\n'
    )


def measured(cell: Cell) -> str:
    """A list of facts per seed."""
    lists = []
    for measurement in cell.measured:
        record = measurement.record
        facts = {
            "seed": record.seed,
            "value": f"{record.value:.4f}",
            "n": f"{record.n} images",
            "commit": record.commit,
            "weights sha256": record.weights_sha256 or "none: untrained weights of the seed",
            "file": measurement.path,
        }
        if text := conditions(measurement):
            facts["protocol"] = text
        lists.append(record_list(facts))
    return "".join(lists)


def published(cell: Cell) -> str:
    """A list of facts per source."""
    lists = []
    for entry in cell.published:
        facts = {
            "value": f"{entry.value:g}" + (f" ± {entry.std:g}" if entry.std is not None else ""),
            "seeds": entry.n if entry.n is not None else f"{MISSING} (the source does not say)",
            "source": entry.source,
            "caveat": entry.caveat or "none known",
        }
        lists.append(record_list(facts))
    return "".join(lists)


def record_list(facts: dict) -> str:
    """What is known of a number, as a list of terms."""
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f'<dl class="record">{lines}</dl>\n'
