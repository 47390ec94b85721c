"""Text in columns for a terminal."""

from collections.abc import Sequence

from runtime.command_line import printable

GAP = "  "


def aligned(rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """A line per row, every column as wide as its widest text; control characters are shown escaped.

    Args:
        rows: texts, in each row as many.
        left: columns, from the first, that are flush left; the others are flush right.
    """
    shown = [[printable(text) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = []
    for row in shown:
        cells = [text.ljust(width) for text, width in zip(row[:left], widths, strict=False)]
        cells += [text.rjust(width) for text, width in zip(row[left:], widths[left:], strict=True)]
        lines.append(GAP.join(cells))
    return lines
