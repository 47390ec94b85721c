"""Footnotes of a table of language models, from the answers to each question: counting errors, and pairs of rows.

Rows of one table have answered the same questions, so two of them are compared question by question (McNemar), seed
by seed. Questions are one source of noise and seeds another: what separates rows over seeds, the bold numbers say.
"""

from collections.abc import Sequence
from pathlib import Path

from analysis.results_table.measurements import Measurement
from analysis.results_table.model import Row, Table
from language.scores import ITEMS, mcnemar, read_items, standard_error
from runtime.command_line import UserError


def answers_notes(table: Table, below: Path = Path()) -> list[str]:
    """The standard error of counting of every measured cell, and each row against the first one without a variant.

    Paths of the measurements start from ``below``.
    """
    notes = []
    for column in table.columns:
        rows = [row for row in table.measured_rows if (row, column) in table.cells]
        cells = {row: table.cells[row, column].measured for row in rows}
        errors = [f"{row.label} {_largest_error(cells[row]):.1f}" for row in rows]
        if errors:
            where = f"{column.versioned}: " if len(table.columns) > 1 else ""
            notes.append(f"{where}standard error of counting, points a seed: {', '.join(errors)}.")
        base = next((row for row in rows if not row.variant), None)
        compared = [text for row in rows if base and row != base and (text := _against(row, base, cells, below))]
        if compared and base:
            notes.append(
                f"{where}McNemar's exact test against {base.label}, questions that the row alone : that {base.label} "
                f"alone answers, a pair for each seed: {'; '.join(compared)}."
            )
    return notes


def _largest_error(measured: Sequence[Measurement]) -> float:
    return max((standard_error(entry.record.value, entry.record.n) for entry in measured), default=0.0)


def _against(row: Row, base: Row, cells: dict[Row, tuple[Measurement, ...]], below: Path) -> str:
    """``MCE 213:190 p 0.27, ...``; empty where the rows share no seed with the same questions."""
    if (row.method, row.recipe, row.epochs) != (base.method, base.recipe, base.epochs):
        return ""
    others = {entry.record.seed: entry for entry in cells[base]}
    pairs = []
    for entry in cells[row]:
        other = others.get(entry.record.seed)
        ours, theirs = _right(below / entry.path), _right(below / other.path) if other else {}
        if ours and ours.keys() == theirs.keys():
            pair = mcnemar(list(ours.values()), list(theirs.values()))
            pairs.append(f"{pair.only_a}:{pair.only_b} p {pair.p:.2g}")
    return f"{row.label} {', '.join(pairs)}" if pairs else ""


def _right(result: Path) -> dict[tuple[int, str], bool]:
    """(number, expected answer) of each question -> whether it was right; empty where the items are gone or damaged."""
    try:
        items = read_items(result.parent / ITEMS)
    except UserError:
        return {}
    return {(number, item["expected"]): item["right"] for number, item in enumerate(items)}
