"""Measures over training as a picture: a panel per measure, a line per run; no torch here."""

import re
from pathlib import Path

import matplotlib

from analysis.figures.style import GRID, INK, mark, plain, save, title_of

matplotlib.use("Agg")
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
    from matplotlib import pyplot

    titles = titles_of(runs)
    shown = {name: text for name, text in SHOWN.items() if all(name in p["values"] for ps in runs.values() for p in ps)}
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    size = (3.9 * columns, 2.6 * lines + 0.6)
    figure, grid = pyplot.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for axes, (name, text) in zip(grid.flat, shown.items(), strict=True):
        for i, (run_name, points) in enumerate(runs.items()):
            x, y = [p["step"] for p in points], [p["values"][name] for p in points]
            axes.plot(x, y, markersize=4, lw=1.4, label=plain(titles[run_name]), **mark(i))
        axes.set_title(text, fontsize=8, color=INK)
        axes.set_xlabel("step", fontsize=8)
        axes.set_ylim(bottom=0 if name != "mce-512" else None)
        axes.tick_params(labelsize=7)
        axes.grid(color=GRID, linewidth=0.5)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=3 if max(map(len, names)) < 28 else 1,
        fontsize=8,
        frameon=False,
    )
    figure.suptitle(plain(note, most=200), fontsize=8, color=INK)
    return save(figure, out)


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
