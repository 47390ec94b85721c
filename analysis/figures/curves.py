"""Measures over training as a picture: a panel per measure, a line per run; no torch here."""

import re
from pathlib import Path

from analysis.figures.palette import Look
from analysis.figures.save import save
from analysis.figures.specs import Series, line_chart
from analysis.figures.titles import title_of

SHOWN = {
    "rank-intra-cov": "intra-class effective rank (eq. 20)",
    "rank-inter-cov": "inter-class effective rank (eq. 21)",
    "rank-total-cov": "effective rank of all features",
    "mce-512": "matrix cross-entropy to uniform, batches of 512",
}


def titles_of(runs: dict[str, list[dict]]) -> dict[str, str]:
    """Each run's method and variant, as tables name them; the folders' names where that does not tell runs apart."""
    titles = {}
    for name, points in runs.items():
        variant = re.sub(r"(, )?step=\d+$", "", points[-1]["variant"])
        titles[name] = title_of(points[-1]["method"], variant)
    return titles if len(set(titles.values())) == len(runs) else {name: name for name in runs}


def draw(runs: dict[str, list[dict]], out: Path, *, note: str) -> list[Path]:
    """A panel per measure, a line per run."""
    titles = titles_of(runs)
    panels = []
    for metric, text in SHOWN.items():
        series = []
        for number, (name, points) in enumerate(runs.items()):
            if all(metric in point["values"] for point in points):
                x, y = [point["step"] for point in points], [point["values"][metric] for point in points]
                series.append(Series(name=titles[name], x=x, y=y, look=Look(number)))
        if len(series) == len(runs) and (spec := line_chart(series, title=text, x="step", y=metric, points=True)):
            panels.append((text, spec))
    return save(panels, out, caption=note)


def table(runs: dict[str, list[dict]]) -> str:
    """First and last point of every run, as text."""
    lines = [f"{'run':40s} {'step':>12s} {'intra':>15s} {'inter':>15s} {'total':>15s}"]
    for name, points in runs.items():
        ends = points[0], points[-1]
        cells = [f"{ends[0]['step']} -> {ends[1]['step']}"]
        for metric in list(SHOWN)[:3]:
            cells.append(" -> ".join(f"{p['values'][metric]:.2f}" if metric in p["values"] else "-" for p in ends))
        lines.append(f"{name:40s} {cells[0]:>12s} " + " ".join(f"{cell:>15s}" for cell in cells[1:]))
    return "\n".join(lines)
