"""How the pictures look: colours that colour-blind readers can tell apart, vector and PNG from one figure."""

from pathlib import Path
from typing import Any

from analysis.figures.palette import LIGHT
from pretrain import methods
from runtime.command_line import printable, shortened
from runtime.files import replacing

INK, GRID, MUTED = "#222222", "#d9d9d9", "#666666"
COLOURS = LIGHT
MARKERS = ("o", "s", "^", "D", "v", "P", "<", ">")
"""The shapes of ``palette.SHAPES``, as matplotlib names them."""


def mark(index: int) -> dict[str, str]:
    """Colour and marker of the ``index``-th of several things in one picture."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def title_of(method: str, variant: str) -> str:
    """``simsiam``, ``wide`` -> ``SimSiam (wide)``."""
    name = methods.title(method) if method in methods.available() else method
    return f"{name} ({variant})" if variant else name


def plain(text: str, *, most: int = 60) -> str:
    """A name from outside as matplotlib draws it letter by letter.

    Without this a dollar sign begins a formula, a leading underscore hides an entry of a legend, and a control
    character makes an SVG that no browser reads.
    """
    text = shortened(printable(text), most).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def save(figure, stem: Path) -> list[Path]:
    """Write STEM.svg and STEM.png, each whole or not at all, and close the figure."""
    from matplotlib import pyplot

    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "png")]
    for path in paths:
        # SVG's ids and date would differ from run to run; text stays text, to be read and searched.
        settings: Any = {"svg.hashsalt": stem.name, "svg.fonttype": "none"}
        with replacing(path) as temporary, pyplot.rc_context(settings):
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(temporary, format=path.suffix[1:], dpi=160, metadata=metadata)
    pyplot.close(figure)
    return paths
