"""Tables for a browser: a page that stands alone, and the fragment of it that a report takes in."""

from html import escape
from itertools import groupby

from analysis.results_table.explain import address, explain
from analysis.results_table.model import Column, Row, Table
from analysis.results_table.significance import BEST, CLOSE
from analysis.results_table.text import LEFT, group_of

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
    """A page with the table; a cell shows what is behind it when pointed at."""
    title = escape(f"{table.benchmark}, {table.title}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body>\n{fragment(table)}</body></html>\n"
    )


def fragment(table: Table) -> str:
    """The table and its footnotes; every cell carries its address (``data-cell``) and its pedigree (``title``)."""
    bodies = [
        "\n".join(_line(table, row) for row in table.rows if bool(row.source) == published)
        for published in (False, True)
    ]
    body = "\n".join(f"<tbody>\n{rows}\n</tbody>" for rows in bodies if rows)
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.footnotes)
    return (
        f'<div class="scroll"><table id="{escape(table.name)}">\n<caption>{escape(table.caption)}</caption>\n'
        f'<thead>\n{_heads(table)}\n</thead>\n{body}\n</table></div>\n<div class="notes">{notes}</div>\n'
    )


def _heads(table: Table) -> str:
    groups = [(name, len(list(columns))) for name, columns in groupby(table.columns, lambda c: group_of(table, c))]
    lines = []
    if any(name for name, _ in groups):
        cells = [f'<th colspan="{width}" class="group" scope="colgroup">{escape(name)}</th>' for name, width in groups]
        lines.append(f'<tr><th colspan="{len(table.labels)}"></th>{"".join(cells)}<th></th></tr>')
    words = [*table.labels, *(column.label for column in table.columns), "seeds"]
    heads = [f"<th{_word(k)} scope='col'>{escape(word)}</th>" for k, word in enumerate(words)]
    return "\n".join([*lines, f"<tr>{''.join(heads)}</tr>"])


def _word(place: int) -> str:
    return ' class="word"' if place < LEFT else ""


def _line(table: Table, row: Row) -> str:
    name, *rest = map(escape, table.label(row))
    cells = [f'<th class="word" scope="row">{name}</th>']
    cells += [f"<td{_word(k)}>{word}</td>" for k, word in enumerate(rest, 1)]
    cells += [_cell(table, row, column) for column in table.columns]
    kind = ' class="published"' if row.source else ""
    return f"<tr{kind}>{''.join(cells)}<td>{escape(table.seeds(row))}</td></tr>"


def _cell(table: Table, row: Row, column: Column) -> str:
    text, mark = escape(table.text(row, column)), table.marks.get((row, column))
    if (row, column) not in table.cells:
        return f"<td>{text}</td>"
    shown = f"<strong>{text}</strong>" if mark == BEST else f"{text} †" if mark == CLOSE else text
    about = escape("\n".join(explain(table, row, column)), quote=True)
    return f'<td data-cell="{escape(address(table, row, column), quote=True)}" title="{about}">{shown}</td>'
