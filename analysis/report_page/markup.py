"""Pieces of HTML; whatever comes from a file goes through ``escape`` on its way in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.results_table.quote import for_html as escape

MOST_ROWS = 60
"""Rows, jobs or files that a section shows one by one; further ones are counted."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with a heading and a place in its contents."""

    id: str
    title: str
    body: str


def paragraph(text: str, kind: str = "") -> str:
    """Plain text as a paragraph; ``kind`` is its class: ``note`` or ``notice``."""
    return f"<p{_class(kind)}>{escape(text)}</p>\n"


def first_of(shown: int, count: int, what: str) -> str:
    """A note that only the first are shown; empty where all are."""
    return paragraph(f"The first {shown} of {count} {what}.", "note") if count > shown else ""


def details(summary: str, body: str, *, kind: str = "") -> str:
    """HTML that opens on a click or by the keyboard, under one line of plain text."""
    return f"<details{_class(kind)}><summary>{escape(summary)}</summary>\n{body}</details>\n"


def grid(head: Sequence[str], lines: Iterable[Sequence], *, caption: str, words: int = 1, kind: str = "") -> str:
    """A table of plain values that scrolls by itself where the page is narrow.

    Args:
        words: columns flush left, from the first; the others are numbers.
    """
    heads = "".join(f'<th{_word(k, words)} scope="col">{escape(name)}</th>' for k, name in enumerate(head))
    rows = []
    for first, *rest in lines:
        cells = "".join(f"<td{_word(k, words)}>{escape(value)}</td>" for k, value in enumerate(rest, 1))
        rows.append(f'<tr><th class="word" scope="row">{escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table{_class(kind)}>\n<caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>\n"
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _word(column: int, words: int) -> str:
    return ' class="word"' if column < words else ""


__all__ = ["MOST_ROWS", "Section", "details", "escape", "first_of", "grid", "paragraph"]
