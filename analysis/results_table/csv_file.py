"""Tables to compute with: CSV, one line per cell with all that is known of it."""

import csv
import io
import statistics

from analysis.results_table import deviations
from analysis.results_table.measurements import unique
from analysis.results_table.model import MISSING, Cell, Column, Row, Table
from analysis.results_table.quote import for_csv

ROW_FIELDS = ("method", "name", "recipe", "variant", "backbone", "epochs")
COLUMN_FIELDS = ("benchmark", "protocol", "version", "task", "metric")
CELL_FIELDS = ("mean", "std", "n", "seeds", "values", "images", "commits", "weights_sha256")
FIELDS = (*ROW_FIELDS, *COLUMN_FIELDS, *CELL_FIELDS, "changed", "source", "caveat")


def to_csv(table: Table) -> str:
    """The cells of a table; a missing one has no value and n = 0. What begins like a formula begins with ``'``."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(FIELDS)
    for row in table.rows:
        for column in table.columns:
            provenance = cell_provenance(table, row, column)
            writer.writerow([for_csv(provenance[field]) for field in FIELDS])
    return stream.getvalue()


def cell_provenance(table: Table, row: Row, column: Column) -> dict[str, object]:
    """A cell with its seeds, values, code and weights, or its source and caveat."""
    cell = table.cells.get((row, column), Cell())
    records = [measurement.record for measurement in cell.measured]
    values = cell.values
    return {
        "method": row.method,
        "name": row.name,
        "recipe": row.recipe,
        "variant": row.variant,
        "backbone": row.backbone,
        "epochs": row.epochs,
        "benchmark": table.benchmark,
        "protocol": column.protocol,
        "version": column.version,
        "task": column.task,
        "metric": column.metric,
        "mean": f"{statistics.fmean(values):.4f}" if values else "",
        "std": _spread(cell),
        "n": ("" if cell.n is None else cell.n) if values else 0,
        "seeds": " ".join(str(record.seed) for record in records),
        "values": " ".join(f"{value:.4f}" for value in values),
        "images": " ".join(unique(str(record.n) for record in records)),
        "commits": " ".join(unique(record.commit for record in records)),
        "weights_sha256": " ".join(record.weights_sha256 or MISSING for record in records),
        "changed": deviations.of_seeds(cell.measured),
        "source": row.source or "measured",
        "caveat": "; ".join(cell.caveats),
    }


def _spread(cell: Cell) -> str:
    std = statistics.stdev(cell.values) if len(cell.values) > 1 else None
    if cell.published:
        std = cell.published[0].std
    return "" if std is None else f"{std:.4f}"
