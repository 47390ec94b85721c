"""Line charts and scatters as inline SVG: they follow the page's colours, its width and its printing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.report_page.axis import Axis
from analysis.report_page.markup import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 236, 54, 10, 8, 34
COLOURS = 10
DASHES = ("", *(f' stroke-dasharray="{pattern}"' for pattern in ("6 3", "2 3", "8 3 2 3", "1 2")))
MOST_POINTS = 400
"""Of a line that is drawn; a longer one is thinned, its last point stays."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line, or a cloud of points, with its place among the colours."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    dash: int = 0


def lines(
    series: Sequence[Series], *, title: str, x: str, y: str, log: bool = False, marks: bool = False, last: bool = True
) -> str:
    """A figure with a line per series; ``marks`` draws their points as well, ``log`` both axes logarithmic,
    ``last`` writes their last value into the legend.
    """
    series = [thinned(one, log=log) for one in (drawable(given, log=log) for given in series) if one.x]
    if not series:
        return ""
    across, up = axes(series, log=log)
    body = []
    for one in series:
        points = [(across.place(a), up.place(b)) for a, b in zip(one.x, one.y, strict=True)]
        path = "M" + "L".join(f"{a:g} {b:g}" for a, b in points)
        dash = dash_of(one)
        tip = f"<title>{escape(one.name)}</title>"
        body.append(f'<path class="line c{one.colour % COLOURS}"{dash} d="{path}">{tip}</path>')
        if marks or len(points) == 1:
            dots = "".join(f"M{a:g} {b:g}h0" for a, b in points)
            body.append(f'<path class="dots c{one.colour % COLOURS}" stroke-width="6" d="{dots}"/>')
    drawing = svg(title, frame(across, up, x, y) + "".join(body))
    return figure(title, drawing, line_keys(series, last=last))


def scatter(series: Sequence[Series], *, title: str, x: str, y: str, note: str = "") -> str:
    """A figure with a mark per point, of a shape and a colour per series; ``note`` stands below it."""
    across, up = axes(series)
    body = []
    for one in series:
        tip = f"<title>{escape(one.name)}</title>"
        places = [(across.place(a), up.place(b)) for a, b in zip(one.x, one.y, strict=True)]
        body.append(marks_of(one.colour, places, 4.5, tip))
    return figure(title, svg(title, frame(across, up, x, y) + "".join(body)), note)


def cloud(series: Sequence[Series], *, title: str, note: str) -> str:
    """A square figure without axes, one scale both ways: of such coordinates only the distances mean something."""
    side = 240
    ends = [(min(v), max(v)) for v in ([v for one in series for v in one.x], [v for one in series for v in one.y])]
    half = max(high - low for low, high in ends) / 2
    middles = [(low + high) / 2 for low, high in ends]
    across, up = (
        Axis.over([middle - half, middle + half], *pixels)
        for middle, pixels in zip(middles, ((4, side - 4), (side - 4, 4)), strict=True)
    )
    body = [f'<rect class="frame" x=".5" y=".5" width="{side - 1}" height="{side - 1}"/>']
    for one in series:
        tip = f"<title>{escape(one.name)}</title>"
        places = [(across.place(a), up.place(b)) for a, b in zip(one.x, one.y, strict=True)]
        body.append(marks_of(one.colour, places, 2.4, tip))
    return figure(title, svg(title, "".join(body), width=side, height=side), f"<figcaption>{escape(note)}</figcaption>")


def marks_of(colour: int, places: Sequence[tuple[float, float]], r: float, tip: str = "") -> str:
    """One path for all points of a series: disk, square, triangle, diamond or cross by its colour's number."""
    shapes = {
        0: f"m-{r:g} 0a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 -{2 * r:g} 0",
        1: f"m-{r:g} -{r:g}h{2 * r:g}v{2 * r:g}h-{2 * r:g}z",
        2: f"m0 -{1.2 * r:g}l{1.2 * r:g} {2.1 * r:g}h-{2.4 * r:g}z",
        3: f"m0 -{1.3 * r:g}l{1.3 * r:g} {1.3 * r:g}l-{1.3 * r:g} {1.3 * r:g}l-{1.3 * r:g} -{1.3 * r:g}z",
        4: f"m0 {1.2 * r:g}l{1.2 * r:g} -{2.1 * r:g}h-{2.4 * r:g}z",
    }
    drawn = "".join(f"M{a:g} {b:g}{shapes[colour % 5]}" for a, b in places)
    return f'<path class="mark c{colour % COLOURS}" d="{drawn}">{tip}</path>'


def drawable(one: Series, *, log: bool = False) -> Series:
    """Without the points that are no finite numbers, and on logarithmic axes none above zero."""
    places = [k for k, (a, b) in enumerate(zip(one.x, one.y, strict=True)) if math.isfinite(a) and math.isfinite(b)]
    return only(one, [k for k in places if not log or (one.x[k] > 0 and one.y[k] > 0)])


def thinned(one: Series, *, log: bool) -> Series:
    """At most about MOST_POINTS of a line, evenly along its axis: on a logarithmic one all of the first, few late."""
    n, every = len(one.x), -(-len(one.x) // MOST_POINTS)
    evenly = {round(n ** (k / MOST_POINTS)) - 1 for k in range(MOST_POINTS)} if log else {*range(0, n, every)}
    return only(one, sorted(evenly | {n - 1}))


def only(one: Series, places: Sequence[int]) -> Series:
    return replace(one, x=[one.x[k] for k in places], y=[one.y[k] for k in places])


def axes(series: Sequence[Series], *, log: bool = False) -> tuple[Axis, Axis]:
    across = Axis.over([v for one in series for v in one.x], LEFT, WIDTH - RIGHT, log=log)
    return across, Axis.over([v for one in series for v in one.y], HEIGHT - BOTTOM, TOP, log=log)


def frame(across: Axis, up: Axis, x: str, y: str) -> str:
    """Grid lines with their numbers, and the names of the axes."""
    parts = []
    for tick in across.ticks:
        at = across.place(tick)
        parts.append(f'<path class="frame" d="M{at:g} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{at:g}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{label(tick)}</text>')
    for tick in up.ticks:
        at = up.place(tick)
        parts.append(f'<path class="frame" d="M{LEFT} {at:g}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{at + 4:g}" text-anchor="end">{label(tick)}</text>')
    middle = (HEIGHT - BOTTOM + TOP) / 2
    parts.append(f'<text x="{(LEFT + WIDTH) / 2:g}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x)}</text>')
    parts.append(f'<text transform="translate(10 {middle:g}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')
    return "".join(parts)


def label(tick: float) -> str:
    """A number beside an axis, ``1e-4`` rather than 0.0001."""
    return f"{tick:g}" if tick == 0 or abs(tick) >= 1e-3 else f"{tick:.0e}".replace("e-0", "e-")


def svg(title: str, body: str, *, width: int = WIDTH, height: int = HEIGHT) -> str:
    name = escape(title)
    return f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{name}">{body}</svg>\n'


def dash_of(one: Series) -> str:
    """By its number; where the colours begin anew, the next dash begins with them."""
    return DASHES[(one.dash + one.colour // COLOURS) % len(DASHES)]


def keys(series: Sequence[Series]) -> str:
    """A legend of marks."""
    return legend([(marks_of(one.colour, [(12, 6)], 4), one.name) for one in series])


def line_keys(series: Sequence[Series], *, last: bool) -> str:
    """A legend of lines."""
    pairs = []
    for one in series:
        key = f'<path class="c{one.colour % COLOURS}" stroke-width="3" fill="none"{dash_of(one)} d="M0 6H24"/>'
        pairs.append((key, f"{one.name}: {one.y[-1]:.4g}" if last else one.name))
    return legend(pairs)


def legend(pairs: Sequence[tuple[str, str]]) -> str:
    items = [
        f'<li><svg viewBox="0 0 24 12" aria-hidden="true">{key}</svg><span>{escape(name)}</span></li>'
        for key, name in pairs
    ]
    return f'<ul class="legend">{"".join(items)}</ul>\n'


def figure(title: str, drawing: str, below: str) -> str:
    return f'<figure>\n<p class="chart-title">{escape(title)}</p>\n{drawing}{below}</figure>\n'
