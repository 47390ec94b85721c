"""Where a cell comes from: every record with its seed, code, weights and file, or the paper it was read in.

A cell is named by its row and column in words parted by slashes, as many as tell it from the others, in any spelling
that a table or a result file has: ``matrix_ssl/moco-c4-1x/bbox/AP``, ``Matrix-SSL/box AP``, ``byol/published/mask AP``.
"""

import difflib
from collections.abc import Iterator, Sequence

from analysis.results_table.deviations import conditions
from analysis.results_table.model import Column, Row, Table
from pretrain.backbones import USUAL
from runtime.command_line import UserError, shortened

MOST_CELLS = 12
"""Cells that one question may name."""

NEAR = 5
"""Similar names in an error."""


def cell_address(table: Table, row: Row, column: Column) -> str:
    """The full name of a cell; the usual network is not spelled out."""
    epochs = f"{row.epochs}ep" if row.epochs else ""
    source = f"published in {row.source}" if row.source else ""
    network = "" if row.backbone == USUAL else row.backbone
    parts = [row.method, network, row.recipe, row.variant, epochs, source]
    parts += [table.benchmark, column.versioned, column.task, column.metric]
    return "/".join(part for part in parts if part)


def find_cells(tables: Sequence[Table], query: str) -> list[tuple[Table, Row, Column]]:
    """The cells that ``query`` names, measured ones alone unless it says otherwise.

    Raises UserError that lists similar names if there is none, and some of them if there are too many.
    """
    words = [word.strip().lower() for word in query.split("/") if word.strip()]
    matches = [cell for cell in _cells(tables) if all(word in _names(*cell) for word in words)]
    measured = [cell for cell in matches if not cell[1].source]
    quoted = shortened(repr(query), 80)
    if not matches:
        addresses = [cell_address(*cell) for cell in _cells(tables)]
        near = difflib.get_close_matches(query.lower()[:200], addresses[:5000], n=NEAR, cutoff=0) or ["none"]
        raise UserError(f"no cell is called {quoted}; similar: {', '.join(near)}")
    chosen = measured or matches
    if len(chosen) > MOST_CELLS or not words:
        some = ", ".join(cell_address(*cell) for cell in chosen[:NEAR])
        raise UserError(f"{quoted} names {len(chosen)} cells, at most {MOST_CELLS} are shown; among them: {some}")
    return chosen


def _cells(tables: Sequence[Table]) -> Iterator[tuple[Table, Row, Column]]:
    for table in tables:
        for row in table.rows:
            yield from ((table, row, column) for column in table.columns if (row, column) in table.cells)


def _names(table: Table, row: Row, column: Column) -> set[str]:
    """Every word that a cell answers to."""
    names = [row.method, row.name, row.label, row.backbone, row.recipe, row.variant, str(row.epochs), f"{row.epochs}ep"]
    names += [row.source, "published", f"published in {row.source}"] if row.source else ["measured"]
    names += [*table.row_labels(row), table.name, table.benchmark]
    names += [column.protocol, column.versioned, f"v{column.version}", column.task, column.group]
    names += [column.metric, column.label, column.name]
    lower = [name.lower() for name in names if name]
    return {part.strip() for name in lower for part in (name, *name.split("/"))}  # a name may have slashes of its own


def explain(table: Table, row: Row, column: Column) -> list[str]:
    """The lines that answer where a cell comes from."""
    cell = table.cells[row, column]
    n = f"n = {cell.n}" if cell.n else "n not published"
    lines = [f"{cell_address(table, row, column)}: {cell.text(percent=table.percent)} ({n})"]
    for measurement in cell.measured:
        record = measurement.record
        weights = record.weights_sha256 or "none (random)"
        things = "questions" if record.task == "language" else "images"
        lines.append(f"  seed {record.seed}: {record.value:.4f} on {record.n} {things}, in {measurement.path}")
        lines.append(f"    commit {record.commit}, weights sha256 {weights}")
        if text := conditions(measurement):
            lines.append(f"    {text}")
    for entry in cell.published:
        lines.append(f"  {entry.value:g}: {entry.source}{f' ({entry.caveat})' if entry.caveat else ''}")
    return lines
