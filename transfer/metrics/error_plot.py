"""errors.png: what each kind of error costs a detector in AP50, one bar per kind and task."""

from pathlib import Path

from runtime.files import replacing
from transfer.metrics.coco import ERRORS

COLOURS = {"bbox": "#0072b2", "segm": "#d55e00"}
"""Different to the colour-blind too (Okabe and Ito)."""

LABELS = {"bbox": "box", "segm": "mask"}


def draw(path: str | Path, gains: dict[str, dict[str, float]]) -> None:
    """Draw ``gains``, ``{"bbox": {"Cls": 3.4, ...}}``: points of AP50 that are lost to each kind."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.4 + 0.45 * len(ERRORS)), layout="constrained")
    axes = figure.subplots()
    thickness = 0.8 / len(gains)
    for offset, (task, values) in enumerate(gains.items()):
        places = [row + (offset - (len(gains) - 1) / 2) * thickness for row in range(len(ERRORS))]
        bars = axes.barh(places, [values[kind] for kind in ERRORS], thickness, color=COLOURS[task], label=LABELS[task])
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.set_yticks(range(len(ERRORS)), [f"{kind}: {meaning}" for kind, meaning in ERRORS.items()], fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("points of AP50 lost to it")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
