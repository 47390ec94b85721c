"""Measures over training as a picture: a panel per measure, a line per run; no torch here."""

import re
from collections.abc import Mapping
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


INFORMATION = {
    "matrix-entropy-2": "matrix entropy of the samples",
    "joint-entropy-2": "joint entropy of two views, samples",
    "mutual-information-2": "mutual information of two views, samples",
    "feature-matrix-entropy-2": "matrix entropy of the features",
    "feature-joint-entropy-2": "joint entropy of two views, features",
    "feature-mutual-information-2": "mutual information of two views, features",
}
"""Of order 2, nats (arXiv 2309.17281): of Gram matrices of the samples, and of correlation matrices of the features."""


def titles_of(runs: dict[str, list[dict]]) -> dict[str, str]:
    """Each run's method and variant, as tables name them; the folders' names where that does not tell runs apart."""
    titles = {}
    for name, points in runs.items():
        variant = re.sub(r"(, )?step=\d+$", "", points[-1]["variant"])
        titles[name] = title_of(points[-1]["method"], variant)
    return titles if len(set(titles.values())) == len(runs) else {name: name for name in runs}


def draw(
    runs: dict[str, list[dict]],
    out: Path,
    *,
    note: str,
    shown: Mapping[str, str] = SHOWN,
    columns: int = 2,
    points: bool = True,
) -> list[Path]:
    """A panel per measure that a run has, a line per run that has it; nothing is drawn, or listed, without any."""
    titles = titles_of(runs)
    panels = []
    for metric, text in shown.items():
        series = []
        for number, (name, measured) in enumerate(runs.items()):
            if all(metric in point["values"] for point in measured):
                x, y = [point["step"] for point in measured], [point["values"][metric] for point in measured]
                series.append(Series(name=titles[name], x=x, y=y, look=Look(number)))
        if spec := line_chart(series, title=text, x="step", y=metric, points=points):
            panels.append((text, spec))
    return save(panels, out, columns=columns, caption=note) if panels else []


RANKS = dict(zip(SHOWN, ("intra", "inter", "total"), strict=False))
ENTROPIES = dict(zip(INFORMATION, ("entropy", "joint", "mutual"), strict=False))


def table(runs: dict[str, list[dict]], columns: Mapping[str, str] = RANKS) -> str:
    """First and last point of every run, as text; ``columns``: measure -> heading."""
    lines = [" ".join([f"{'run':40s} {'step':>12s}", *(f"{heading:>15s}" for heading in columns.values())])]
    for name, points in runs.items():
        ends = points[0], points[-1]
        cells = [f"{ends[0]['step']} -> {ends[1]['step']}"]
        for metric in columns:
            cells.append(" -> ".join(f"{p['values'][metric]:.2f}" if metric in p["values"] else "-" for p in ends))
        lines.append(f"{name:40s} {cells[0]:>12s} " + " ".join(f"{cell:>15s}" for cell in cells[1:]))
    return "\n".join(lines)
