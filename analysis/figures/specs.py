"""Line charts, scatters and clouds of points as Vega-Lite specifications.

A specification names colours by number (``category`` of the config), so that the page and the pictures can differ in
theme and in nothing else. In a page the parameter ``hidden`` takes the names of the series that are switched off.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from analysis.figures.palette import LIGHT, Look
from runtime.command_line import printable

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
HEIGHT = 220
SIDE = 240
"""Pixels: height of a chart, side of a cloud."""

MOST_POINTS = 400
"""Of a line; a longer one is thinned, its last point stays."""

MOST_POINTS_OF_CHART = 4000

Spec = dict


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line, or the points of one kind. Its name is shown escaped: a control character ends the drawing of a PNG."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    look: Look = Look()
    about: Mapping[str, str] = field(default_factory=dict)
    """What is shown beside x and y when a point is pointed at."""

    def __post_init__(self):
        object.__setattr__(self, "name", printable(self.name))
        object.__setattr__(self, "about", {key: printable(text) for key, text in self.about.items()})


def line_chart(
    series: Sequence[Series], *, title: str, x: str, y: str, log: bool = False, points: bool = False
) -> Spec | None:
    """A line per series; None if nothing is left to draw.

    Args:
        x, y: titles of the axes.
        log: whether both axes are logarithmic.
        points: whether the points are marked.
    """
    drawn = [thinned(one, log=log, most=_most_points(len(series))) for one in drawable_series(series, log=log)]
    if not drawn:
        return None
    axis = LOGARITHMIC if log else {"scale": {"zero": False, "padding": 5 if points else 0}}
    point_style = {"size": 30, "filled": True, "opacity": 1} if points else {"size": 70, "opacity": 0}
    alone = any(len(one.x) == 1 for one in drawn)
    if alone and not points:
        point_style = {"size": 12, "filled": True, "opacity": 1}
    return _spec(title, drawn) | {
        "width": "container",
        "height": HEIGHT,
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": printable(x), **axis},
            "y": {"field": "y", "type": "quantitative", "title": printable(y), **axis},
            "color": _colours(drawn),
        },
        "layer": [
            {
                "params": [ZOOM],
                "mark": {"type": "line", "strokeWidth": 1.8, "clip": True},
                "encoding": {"strokeDash": _by_name(drawn, [list(one.look.pattern) for one in drawn])},
            },
            {
                "mark": {"type": "point", "clip": True, **point_style},
                "encoding": {"tooltip": _tooltip(drawn, x, y)},
            },
        ],
    }


def scatter_chart(series: Sequence[Series], *, title: str, x: str, y: str) -> Spec:
    """A point per entry, of a colour and a shape per series."""
    drawn = drawable_series(series)
    axis = {"scale": {"zero": False, "padding": 14}}
    return _spec(title, drawn) | {
        "width": "container",
        "height": HEIGHT,
        "params": [HIDDEN, ZOOM],
        "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "clip": True},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": printable(x), **axis},
            "y": {"field": "y", "type": "quantitative", "title": printable(y), **axis},
            "color": _colours(drawn),
            "shape": _by_name(drawn, [one.look.shape for one in drawn]),
            "tooltip": _tooltip(drawn, x, y),
        },
    }


def point_cloud(series: Sequence[Series], *, title: str) -> Spec:
    """A square without axes, one scale both ways: of such coordinates only the distances mean something."""
    drawn = drawable_series(series)
    across, up = _square([v for one in drawn for v in one.x], [v for one in drawn for v in one.y])
    return _spec(title, drawn) | {
        "width": SIDE,
        "height": SIDE,
        "params": [HIDDEN, ZOOM],
        "mark": {"type": "point", "filled": True, "size": 14, "opacity": 0.85, "clip": True},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "axis": None, "scale": {"domain": across, "nice": False}},
            "y": {"field": "y", "type": "quantitative", "axis": None, "scale": {"domain": up, "nice": False}},
            "color": _colours(drawn),
            "shape": _by_name(drawn, [one.look.shape for one in drawn]),
            "tooltip": [{"field": "name", "title": "class"}],
        },
    }


LOGARITHMIC = {
    "scale": {"type": "log"},
    # Of the many lines of a decade those that have a number.
    "axis": {"format": "~g", "gridOpacity": {"condition": {"test": "datum.label != ''", "value": 1}, "value": 0}},
}

HIDDEN = {"name": "hidden", "value": []}

ZOOM = {
    "name": "zoom",
    # The wheel alone scrolls the page.
    "select": {"type": "interval", "zoom": "wheel![event.shiftKey || event.ctrlKey]"},
    "bind": "scales",
}


def _spec(title: str, series: Sequence[Series]) -> Spec:
    """What all charts share. The values of a series are two lists, which the browser unfolds: half the bytes."""
    values = [
        {"name": one.name, **one.about, "x": list(map(_short, one.x)), "y": list(map(_short, one.y))} for one in series
    ]
    return {
        "$schema": SCHEMA,
        "description": printable(title),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": [HIDDEN],
        "data": {"values": values},
        "transform": [{"filter": "indexof(hidden, datum.name) < 0"}, {"flatten": ["x", "y"]}],
    }


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.6g}")


def _colours(series: Sequence[Series]) -> dict:
    return _by_name(series, [f"var(--s{one.look.colour_index})" for one in series])


def _by_name(series: Sequence[Series], values: list) -> dict:
    scale = {"domain": [one.name for one in series], "range": values}
    return {"field": "name", "type": "nominal", "scale": scale, "legend": None}


def _tooltip(series: Sequence[Series], x: str, y: str) -> list[dict]:
    about = dict.fromkeys(key for one in series for key in one.about)
    numbers = [{"field": name, "title": title, "format": ".6~g"} for name, title in (("x", x), ("y", y))]
    return [{"field": "name", "title": "run"}, *({"field": key} for key in about), *numbers]


def _square(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Domains of two axes on which a unit is as long across as up."""
    if not x:
        return [0, 1], [0, 1]
    half = 0.52 * max(max(x) - min(x), max(y) - min(y)) or 1
    across, up = (max(x) + min(x)) / 2, (max(y) + min(y)) / 2
    return [across - half, across + half], [up - half, up + half]


def with_colours(spec: Spec, colours: Sequence[str] = LIGHT) -> Spec:
    """The specification with colours in place of their names, for whatever is no page."""
    if isinstance(spec, dict):
        return {key: with_colours(value, colours) for key, value in spec.items()}
    if isinstance(spec, list):
        return [with_colours(value, colours) for value in spec]
    if isinstance(spec, str) and spec.startswith("var(--s") and spec[7:-1].isdecimal():
        return colours[int(spec[7:-1])]
    return spec


def drawable_series(series: Sequence[Series], *, log: bool = False) -> list[Series]:
    """Without the points that are no finite numbers (on logarithmic axes: not above zero), and what is then empty."""
    kept = []
    for one in series:
        finite = [
            (a, b)
            for a, b in zip(one.x, one.y, strict=True)
            if math.isfinite(a) and math.isfinite(b) and (not log or (a > 0 and b > 0))
        ]
        if finite:
            kept.append(replace(one, x=[a for a, _ in finite], y=[b for _, b in finite]))
    return kept


def thinned(one: Series, *, log: bool = False, most: int = MOST_POINTS) -> Series:
    """At most about ``most`` points of a line, evenly along its axis: on a logarithmic one few of the last."""
    n = len(one.x)
    evenly, by_decade = range(0, n, -(-n // most)), [round(n ** (k / most)) - 1 for k in range(most)]
    chosen = sorted({*(by_decade if log else evenly), n - 1})
    return replace(one, x=[one.x[k] for k in chosen], y=[one.y[k] for k in chosen])


def _most_points(lines: int) -> int:
    return max(20, min(MOST_POINTS, MOST_POINTS_OF_CHART // max(lines, 1)))
