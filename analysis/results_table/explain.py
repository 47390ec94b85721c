"""What is behind a cell: every record with its seed, code, weights and file, or the paper it was read in.

A cell is named by its row and column in words parted by slashes, as many as tell it from the others, in any spelling
that a table or a result file has: ``matrix_ssl/moco-c4-1x/bbox/AP``, ``Matrix-SSL/box AP``, ``byol/published/mask AP``.
"""

import difflib
from collections.abc import Iterator, Sequence

from analysis.results_table.deviations import conditions
from analysis.results_table.model import Column, Row, Table
from runtime.command_line import UserError

MOST = 12
"""Cells that one question may name."""


def address(table: Table, row: Row, column: Column) -> str:
    """The full name of a cell."""
    epochs = f"{row.epochs}ep" if row.epochs else ""
    who = [row.method, row.recipe, row.variant, epochs, f"published in {row.source}" if row.source else ""]
    return "/".join(word for word in [*who, table.benchmark, column.versioned, column.task, column.metric] if word)


def find(tables: Sequence[Table], asked: str) -> list[tuple[Table, Row, Column]]:
    """The cells that ``asked`` names, measured ones alone unless it says otherwise.

    Raises UserError that lists near ones if there is none, and some of them if there are too many.
    """
    words = [word.strip().lower() for word in asked.split("/") if word.strip()]
    cells = {address(*place): place for place in _cells(tables)}
    found = {name: place for name, place in cells.items() if all(word in _words(*place) for word in words)}
    measured = {name: place for name, place in found.items() if not place[1].source}
    if not found:
        near = difflib.get_close_matches(asked.lower(), cells, n=5, cutoff=0) or ["none"]
        raise UserError(f"no cell is called {asked!r}; near ones: {', '.join(near)}")
    chosen = measured or found
    if len(chosen) > MOST or not words:
        some = ", ".join(list(chosen)[:5])
        raise UserError(f"{asked!r} names {len(chosen)} cells, say more; among them: {some}")
    return list(chosen.values())


def _cells(tables: Sequence[Table]) -> Iterator[tuple[Table, Row, Column]]:
    for table in tables:
        for row in table.rows:
            yield from ((table, row, column) for column in table.columns if (row, column) in table.cells)


def _words(table: Table, row: Row, column: Column) -> set[str]:
    """Every word that a cell answers to."""
    who = [row.method, row.name, row.label, row.recipe, row.variant, str(row.epochs), f"{row.epochs}ep"]
    who += [row.source, "published", f"published in {row.source}"] if row.source else ["measured"]
    where = [table.name, table.benchmark, column.protocol, column.versioned, f"v{column.version}"]
    where += [column.task, column.group, column.metric, column.label]
    words = [word.lower() for word in [*who, *table.label(row), *where, column.name] if word]
    return {part.strip() for word in words for part in (word, *word.split("/"))}  # a name may have slashes of its own


def explain(table: Table, row: Row, column: Column) -> list[str]:
    """The lines that answer where a cell comes from."""
    cell = table.cells[row, column]
    counted = f"n = {cell.n}" if cell.n else "n not published"
    lines = [f"{address(table, row, column)}: {cell.text(percent=table.percent)} ({counted})"]
    for found in cell.found:
        record = found.record
        weights = record.weights_sha256 or "none (random)"
        lines.append(f"  seed {record.seed}: {record.value:.4f} on {record.n} images, in {found.path}")
        lines.append(f"    commit {record.commit}, weights sha256 {weights}")
        if said := conditions(found):
            lines.append(f"    {said}")
    for entry in cell.printed:
        lines.append(f"  {entry.value:g}: {entry.source}{f' ({entry.caveat})' if entry.caveat else ''}")
    return lines
