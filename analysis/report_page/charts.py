"""Charts in the page: a specification that the page's script draws, and a legend whose entries switch series off.

The legend, with the last value of each line, is there without the script too.
"""

import json
from collections.abc import Iterable, Sequence

from analysis.figures.specs import Series, Spec, drawable_series, line_chart
from analysis.report_page.markup import escape

MOST_LINES = 30
"""Lines of one chart; further ones are counted below it."""


def lines(
    series: Sequence[Series], *, title: str, x: str, y: str, log: bool = False, points: bool = False, last: bool = True
) -> str:
    """A figure with a line per series, at most MOST_LINES; empty where there is nothing to draw.

    Args:
        last: whether the legend says the last value of each line.
    """
    drawable = drawable_series(series, log=log)
    shown = drawable[:MOST_LINES]
    spec = line_chart(shown, title=title, x=x, y=y, log=log, points=points)
    if spec is None:
        return ""
    entries = [(one, f"{one.name}: {one.y[-1]:.4g}" if last else one.name) for one in shown]
    below = legend([entry(one, text, dash(one)) for one, text in entries], title)
    if len(drawable) > len(shown):
        below += f'<figcaption class="more">The first {len(shown)} of {len(drawable)} lines.</figcaption>\n'
    return figure(spec, title, below)


def figure(spec: Spec, title: str, below: str, *, group: str = "") -> str:
    """A chart under its title; ``group`` names the legend whose switches it obeys, its own title by default."""
    return (
        f'<figure>\n<p class="chart-title">{escape(title)}</p>\n'
        f'<div class="chart" data-group="{escape(group or title)}">{data(spec)}</div>\n{below}</figure>\n'
    )


def data(value: object) -> str:
    """A value for the page's script, as JSON that cannot end its element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'


def keys(series: Sequence[Series], group: str) -> str:
    """A legend of colours and shapes for the charts of a group."""
    return legend([entry(one, one.name, one.look.sign) for one in series], group)


def legend(entries: Iterable[str], group: str) -> str:
    """The entries of a chart's legend, which switch the series of ``group`` off and on."""
    return f'<ul class="legend" data-group="{escape(group)}">{"".join(entries)}</ul>\n'


def entry(one: Series, text: str, key: str) -> str:
    """A line of a legend: the series' key in its colour, and its text."""
    colour = f"c{one.look.colour_index}"
    return f'<li data-name="{escape(one.name)}"><span class="key {colour}">{key}</span><span>{escape(text)}</span></li>'


def dash(one: Series) -> str:
    """A short piece of a series' line, as SVG."""
    pattern = " ".join(map(str, one.look.pattern))
    dashes = "" if one.look.pattern == (1, 0) else f' stroke-dasharray="{pattern}"'
    return f'<svg viewBox="0 0 24 12" aria-hidden="true"><path stroke-width="3"{dashes} d="M0 6H24"/></svg>'
