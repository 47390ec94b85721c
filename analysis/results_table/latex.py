"""Tables for a paper: LaTeX with booktabs, ready for \\input; the document needs ``\\usepackage{booktabs}``."""

from itertools import groupby

from analysis.results_table.model import MISSING, Column, Row, Table
from analysis.results_table.significance import BEST, CLOSE
from analysis.results_table.text import LEFT, group_of

ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "×": r"$\times$",
    "²": "$^2$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}

GREEK = {
    "αβγδεζηθικλμ": "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu",
    "νξπρστυφχψω": "nu xi pi rho sigma tau upsilon phi chi psi omega",
    "ΓΔΘΛΞΠΣΥΦΨΩ": "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega",
}
ESCAPES |= {
    letter: rf"$\{name}$" for row, names in GREEK.items() for letter, name in zip(row, names.split(), strict=True)
}


def escape(text: str) -> str:
    """``text`` so that LaTeX prints it as it stands."""
    return "".join(ESCAPES.get(letter, letter) for letter in text)


def latex(table: Table) -> str:
    """A ``table`` environment: box and mask above their metrics, published rows in italics below a rule."""
    count = len(table.labels) + len(table.columns) + 1
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(table.caption)}.}}",
        rf"  \label{{tab:{table.name}}}",
        rf"  \begin{{tabular}}{{{'l' * LEFT + 'r' * (count - LEFT)}}}",
        r"    \toprule",
        *_heads(table),
        r"    \midrule",
    ]
    for row in table.rows:
        if table.measured and row.source and row == next(other for other in table.rows if other.source):
            lines.append(r"    \midrule")
        lines.append(_line(table, row))
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    if table.footnotes:
        notes = r" \par ".join(escape(note) for note in table.footnotes)  # after \\, a [ would be a length
        lines += [r"  \par\smallskip", rf"  \parbox{{\linewidth}}{{\footnotesize {notes}}}"]
    return "\n".join([*lines, r"\end{table}", ""])


def _heads(table: Table) -> list[str]:
    """The row of groups with its rules, and the row of metrics."""
    groups = [(name, len(list(columns))) for name, columns in groupby(table.columns, lambda c: group_of(table, c))]
    cells, rules, place = [""] * len(table.labels), [], len(table.labels) + 1
    for name, width in groups:
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(name)}}}")
        if name:
            rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        place += width
    metrics = " & ".join(escape(word) for word in [*table.labels, *(c.label for c in table.columns), "seeds"])
    lines = [f"    {' & '.join([*cells, ''])} \\\\", f"    {' '.join(rules)}"] if rules else []
    return [*lines, f"    {metrics} \\\\"]


def _line(table: Table, row: Row) -> str:
    def italic(text: str) -> str:
        return rf"\textit{{{text}}}" if row.source and text != escape(MISSING) else text

    def cell(column: Column) -> str:
        text, mark = escape(table.text(row, column)), table.marks.get((row, column))
        if mark == BEST:
            return rf"\textbf{{{text}}}"
        return text + ESCAPES["†"] if mark == CLOSE else italic(text)

    name, recipe, epochs = (escape(word) for word in table.label(row))
    name = f"{{}}{name}" if name.startswith(("[", "*")) else name  # after \\, a [ would be a length
    words = [italic(name), recipe, italic(epochs), *map(cell, table.columns), escape(table.seeds(row))]
    return f"    {' & '.join(words)} \\\\"
