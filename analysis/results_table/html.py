"""Tables for a browser: a page of its own, and the fragment of it that a report includes."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from analysis.results_table.explain import cell_address, explain
from analysis.results_table.model import Column, Row, Table
from analysis.results_table.quote import for_html
from analysis.results_table.significance import BEST, CLOSE

STYLE = """
:root { color-scheme: light dark; --line: #8886; --quiet: #666; --shade: #8881; }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .5rem; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; }
th.word, td.word { text-align: left; }
thead tr:last-child th, tbody { border-bottom: 1px solid var(--line); }
thead tr:first-child th { border-top: 2px solid var(--line); }
thead th.group { text-align: center; }
tr.published { font-style: italic; color: var(--quiet); background: var(--shade); }
tr.published th.word { font-weight: normal; }
tbody th { font-weight: normal; }
.notes { color: var(--quiet); font-size: .85rem; max-width: 60rem; }
"""


def html(table: Table) -> str:
    """A page with the table; a cell shows its provenance when pointed at."""
    title = for_html(f"{table.benchmark}, {table.title}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body>\n{fragment(table, table.rows)}</body></html>\n"
    )


def fragment(table: Table, rows: Sequence[Row], *, provenance: bool = True) -> str:
    """``rows`` of the table, and its footnotes; every cell carries its address (``data-cell``).

    Args:
        provenance: whether a cell shows its records when pointed at (``title``).
    """
    bodies = []
    for is_published in (False, True):
        lines = [_line(table, row, provenance) for row in rows if bool(row.source) == is_published]
        if lines:
            bodies.append("<tbody>\n" + "\n".join(lines) + "\n</tbody>")
    notes = "".join(f"<p>{for_html(note)}</p>" for note in table.footnotes)
    return (
        f'<div class="scroll"><table id="{for_html(table.name)}">\n<caption>{for_html(table.caption)}</caption>\n'
        f"<thead>\n{_heads(table)}\n</thead>\n{_joined(bodies)}\n</table></div>\n"
        f'<div class="notes">{notes}</div>\n'
    )


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(parts)


def _heads(table: Table) -> str:
    groups = [(name, len(list(columns))) for name, columns in groupby(table.columns, table.group)]
    lines = []
    if any(name for name, _ in groups):
        cells = [
            f'<th colspan="{width}" class="group" scope="colgroup">{for_html(name)}</th>' for name, width in groups
        ]
        lines.append(f'<tr><th colspan="{len(table.row_heads)}"></th>{"".join(cells)}<th></th></tr>')
    names = [*table.row_heads, *(column.label for column in table.columns), "seeds"]
    heads = [f'<th{_text_class(table, k)} scope="col">{for_html(name)}</th>' for k, name in enumerate(names)]
    return _joined([*lines, f"<tr>{''.join(heads)}</tr>"])


def _text_class(table: Table, column: int) -> str:
    return ' class="word"' if column < table.text_columns else ""


def _line(table: Table, row: Row, provenance: bool) -> str:
    name, *labels = map(for_html, table.row_labels(row))
    cells = [f'<th class="word" scope="row">{name}</th>']
    cells += [f"<td{_text_class(table, k)}>{label}</td>" for k, label in enumerate(labels, 1)]
    cells += [_cell(table, row, column, provenance) for column in table.columns]
    kind = ' class="published"' if row.source else ""
    return f"<tr{kind}>{''.join(cells)}<td>{for_html(table.seeds(row))}</td></tr>"


def _cell(table: Table, row: Row, column: Column, provenance: bool) -> str:
    text, mark = for_html(table.text(row, column)), table.marks.get((row, column))
    if (row, column) not in table.cells:
        return f"<td>{text}</td>"
    shown = f"<strong>{text}</strong>" if mark == BEST else f"{text} †" if mark == CLOSE else text
    title = f' title="{for_html(_joined(explain(table, row, column)))}"' if provenance else ""
    return f'<td data-cell="{for_html(cell_address(table, row, column))}"{title}>{shown}</td>'
