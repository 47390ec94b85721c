"""The paired bootstrap over images, and its numbers as text."""

from dataclasses import dataclass

import numpy as np

from analysis.comparison.image_matches import FIGURES, Matches
from runtime.command_line import UserError
from runtime.progress import Progress

NAMES = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}


@dataclass(frozen=True)
class Difference:
    """One figure of two runs on the same images, in percent."""

    task: str
    metric: str
    a: float
    b: float
    low: float
    high: float
    """The interval of A - B."""
    better: float
    """Share of the draws in which A is ahead, ties counted half."""

    @property
    def value(self) -> float:
        return self.a - self.b

    @property
    def name(self) -> str:
        return f"{NAMES[self.task]} {self.metric}"


def bootstrap(
    pairs: dict[str, tuple[Matches, Matches]],
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    quiet: bool = True,
) -> list[Difference]:
    """The differences A - B of each task's pair, with their percentile intervals.

    Args:
        pairs: task -> (matches of A, matches of B), all on the same images.
        resamples: how many times the images are drawn; every task and both runs see the same draws. Those without an
            object of a task say nothing of it.

    Raises UserError if no draw holds an object of a task.
    """
    images = next(iter(pairs.values()))[0].images
    everything = np.ones(images)
    whole = {task: [matches.figures(everything) for matches in pair] for task, pair in pairs.items()}
    rng, progress = np.random.default_rng(seed), Progress(resamples, "bootstrap", quiet=quiet)
    drawn = {task: np.empty((resamples, len(FIGURES))) for task in pairs}
    for k in range(resamples):
        weights = np.bincount(rng.integers(images, size=images), minlength=images).astype(float)
        for task, (a, b) in pairs.items():
            drawn[task][k] = a.figures(weights) - b.figures(weights)
        progress.update(k + 1)
    tail = 50 * (1 - confidence)
    result = []
    for task, differences in drawn.items():
        differences = differences[np.isfinite(differences).all(1)]  # a draw may hold no object at all
        if not len(differences):
            raise UserError(f"none of the {resamples} draws of images holds an object to find; give more --resamples")
        low, high = np.percentile(differences, [tail, 100 - tail], axis=0)
        better = (np.sign(differences) / 2 + 0.5).mean(0)
        columns = zip(FIGURES, *whole[task], low, high, better, strict=True)
        result += [Difference(task, metric, *map(float, values)) for metric, *values in columns]
    return result


def text(differences: list[Difference], confidence: float) -> str:
    """The differences for a terminal; a star marks an interval that leaves out zero."""
    lines = [f"{'':<14}{'A':>8}{'B':>8}{'A - B':>9}   {100 * confidence:g}% interval     A ahead in"]
    for d in differences:
        mark = " *" if d.low > 0 or d.high < 0 else "  "
        interval = f"[{d.low:+.2f}, {d.high:+.2f}]"
        lines.append(f"{d.name:<14}{d.a:>8.2f}{d.b:>8.2f}{d.value:>+9.2f}{mark} {interval:<18}{d.better:>8.1%}")
    return "\n".join([*lines, "* the interval leaves out 0"])
