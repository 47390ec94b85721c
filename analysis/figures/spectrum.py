"""The spectrum of a representation as a picture."""

from pathlib import Path

from torch import Tensor

from analysis.figures.save import save
from analysis.figures.specs import Series, line_chart


def draw(eigenvalues: Tensor, title: str, out: Path) -> list[Path]:
    """The eigenvalues' shares of the variance over their rank, on logarithmic axes."""
    shares = (eigenvalues / eigenvalues.sum())[eigenvalues > 0].tolist()
    series = Series(name=title, x=range(1, len(shares) + 1), y=shares)
    spec = line_chart([series], title=title, x="rank of the eigenvalue", y="share of the variance", log=True)
    return save([("", spec)] if spec else [], out / "spectrum")
