"""Charts as files, drawn without a browser by vl-convert: SVG to scale, PNG to paste; and the library for a page."""

from collections.abc import Sequence
from pathlib import Path

from analysis.figures.specs import SCHEMA, Spec, with_colours
from analysis.figures.theme import PAPER
from runtime.command_line import printable, shortened
from runtime.files import replacing

PIXELS_PER_UNIT = 2.2

PANEL_WIDTH = 260
"""Pixels, of a panel whose chart fills its page's column."""

LONGEST_TITLE = 200


def save(panels: Sequence[tuple[str, Spec]], stem: Path, *, columns: int = 2, caption: str = "") -> list[Path]:
    """Write STEM.svg and STEM.png, each whole or not at all: charts under their titles, with one legend.

    Args:
        panels: title and specification of each; a line break in a title is one in the picture.
        caption: above all of them.
    """
    import vl_convert

    channels = ("color", "shape", "strokeDash")
    picture = {
        "$schema": SCHEMA,
        "title": {"text": _text(caption), "anchor": "middle"},
        "concat": [_panel(title, spec) for title, spec in panels],
        "columns": columns,
        "resolve": {"scale": dict.fromkeys(channels, "shared"), "legend": dict.fromkeys(channels, "shared")},
        "config": PAPER,
    }
    svg, png = stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png")
    with replacing(svg) as temporary:
        temporary.write_text(vl_convert.vegalite_to_svg(picture), encoding="utf-8")
    with replacing(png) as temporary:
        temporary.write_bytes(vl_convert.vegalite_to_png(picture, scale=PIXELS_PER_UNIT))
    return [svg, png]


def _text(text: str) -> list[str]:
    return [printable(shortened(line, LONGEST_TITLE)) for line in text.split("\n")]


def _panel(title: str, spec: Spec) -> Spec:
    """A chart without what only a page has: names of colours, switches and zoom; with a legend."""
    kept = {key: value for key, value in with_colours(spec).items() if key not in ("$schema", "autosize", "params")}
    kept["title"] = {"text": _text(title)}
    kept["transform"] = [step for step in kept["transform"] if "filter" not in step]
    kept["width"] = PANEL_WIDTH if kept["width"] == "container" else kept["width"]
    kept["encoding"] = _with_legend(kept["encoding"])
    if "layer" in kept:
        layers = [{key: value for key, value in layer.items() if key != "params"} for layer in kept["layer"]]
        kept["layer"] = [{**layer, "encoding": _with_legend(layer["encoding"])} for layer in layers]
    return kept


def _with_legend(encoding: dict) -> dict:
    legend = {"orient": "bottom", "columns": 3, "title": None, "labelLimit": 300}
    return {
        channel: {**value, "legend": legend} if channel in ("color", "shape", "strokeDash") else value
        for channel, value in encoding.items()
    }


def javascript() -> str:
    """The library that draws specifications in a page, as one script that defines ``vegaEmbed``."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", r"<\/script")
