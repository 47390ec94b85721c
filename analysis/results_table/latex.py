"""Tables for a paper: LaTeX with booktabs, ready for \\input; the document needs ``\\usepackage{booktabs}``."""

from itertools import groupby

from analysis.results_table.model import MISSING, Column, Row, Table
from analysis.results_table.quote import for_latex
from analysis.results_table.significance import BEST, CLOSE


def latex(table: Table) -> str:
    """A ``table`` environment: box and mask above their metrics, published rows in italics below a rule."""
    count = len(table.row_heads) + len(table.columns) + 1
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{for_latex(table.caption)}.}}",
        rf"  \label{{tab:{table.name}}}",
        rf"  \begin{{tabular}}{{{'l' * table.text_columns + 'r' * (count - table.text_columns)}}}",
        r"    \toprule",
        *_heads(table),
        r"    \midrule",
        *[_line(table, row) for row in table.measured_rows],
    ]
    if table.measured_rows and table.published_rows:
        lines.append(r"    \midrule")
    lines += [_line(table, row) for row in table.published_rows]
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    if table.footnotes:
        notes = r" \par ".join(map(for_latex, table.footnotes))
        lines += [r"  \par\smallskip", rf"  \parbox{{\linewidth}}{{\footnotesize {notes}}}"]
    return "\n".join([*lines, r"\end{table}", ""])


def _heads(table: Table) -> list[str]:
    """The row of groups with its rules, and the row of metrics."""
    cells, rules, first = [""] * len(table.row_heads), [], len(table.row_heads) + 1
    for name, columns in groupby(table.columns, table.group):
        width = len(list(columns))
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{for_latex(name)}}}")
        if name:
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    metrics = " & ".join(map(for_latex, [*table.row_heads, *(c.label for c in table.columns), "seeds"]))
    lines = [f"    {' & '.join([*cells, ''])} \\\\", f"    {' '.join(rules)}"] if rules else []
    return [*lines, f"    {metrics} \\\\"]


def _line(table: Table, row: Row) -> str:
    def italic(text: str) -> str:
        return rf"\textit{{{text}}}" if row.source and text != for_latex(MISSING) else text

    def cell(column: Column) -> str:
        text, mark = for_latex(table.text(row, column)), table.marks.get((row, column))
        if mark == BEST:
            return rf"\textbf{{{text}}}"
        return text + for_latex("†") if mark == CLOSE else italic(text)

    name, *names, epochs = map(for_latex, table.row_labels(row))
    cells = [italic(name), *names, italic(epochs), *map(cell, table.columns), for_latex(table.seeds(row))]
    return f"    {' & '.join(cells)} \\\\"
