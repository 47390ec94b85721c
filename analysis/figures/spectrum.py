"""The spectrum of a representation as a picture."""

from pathlib import Path

import matplotlib
from torch import Tensor

from analysis.figures.style import GRID, INK, plain, save

matplotlib.use("Agg")


def draw(eigenvalues: Tensor, title: str, out: Path) -> list[Path]:
    """The eigenvalues' shares of the variance over their rank, on logarithmic axes."""
    from matplotlib import pyplot

    shares = (eigenvalues / eigenvalues.sum())[eigenvalues > 0]
    figure, axes = pyplot.subplots(figsize=(4.2, 3), layout="constrained")
    axes.loglog(range(1, len(shares) + 1), shares, color=INK, linewidth=1.5)
    axes.set(xlabel="rank of the eigenvalue", ylabel="share of the variance", title=plain(title))
    axes.grid(color=GRID, linewidth=0.5)
    return save(figure, out / "spectrum")
