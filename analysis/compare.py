"""Is one detector better than another on these images, or were the images kind to it? A paired bootstrap answers.

    python analysis/compare.py runs/mine/moco-c4-1x-coco_2017 runs/random/moco-c4-1x-coco_2017

A and B are the folders of two fine-tuning runs on one data set, or their predictions. The validation images are drawn
anew, with replacement, as many as there are; both detectors are evaluated on the same draw, and the middle 95% of the
differences A - B is the interval. It says how far the difference depends on which images were taken for validation,
not how far another seed of training would move it: for that, compare the mean and spread over seeds in the tables.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.measures.image_matches import FIGURES, Matches, match
from runtime import run_guard
from runtime.command_line import Parser, UserError, run
from runtime.files import write_json
from runtime.progress import Progress
from transfer.metrics import predictions
from transfer.metrics.scorers import metric_of

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
        resamples: how many times the images are drawn; every task and both runs see the same draws.
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
    found = []
    for task, differences in drawn.items():
        low, high = np.nanpercentile(differences, [tail, 100 - tail], axis=0)
        better = (np.sign(differences) / 2 + 0.5).mean(0)
        columns = zip(FIGURES, *whole[task], low, high, better, strict=True)
        found += [Difference(task, metric, *map(float, values)) for metric, *values in columns]
    return found


def report(differences: list[Difference], confidence: float) -> str:
    """The differences for a terminal; a star marks an interval that leaves out zero."""
    lines = [f"{'':<14}{'A':>8}{'B':>8}{'A - B':>9}   {100 * confidence:g}% interval     A ahead in"]
    for d in differences:
        mark = " *" if d.low > 0 or d.high < 0 else "  "
        interval = f"[{d.low:+.2f}, {d.high:+.2f}]"
        lines.append(f"{d.name:<14}{d.a:>8.2f}{d.b:>8.2f}{d.value:>+9.2f}{mark} {interval:<18}{d.better:>8.1%}")
    return "\n".join([*lines, "* the interval leaves out 0"])


def ground_truth_of(paths: list[Path], arguments: argparse.Namespace) -> Path:
    """The ground truth of both predictions. Raises UserError if the two are not of the same images."""
    begun = [(run["benchmark"], run["val_json_sha256"]) for run in map(_run_of, paths) if run]
    if len(set(begun)) > 1:
        said = " and ".join(f"{path} on {name} ({sha[:12]})" for path, (name, sha) in zip(paths, begun, strict=True))
        raise UserError(f"the two were not evaluated on the same images: {said}; compare runs on one data set")
    benchmark = arguments.benchmark or (begun[0][0] if begun else None)
    if benchmark is None and arguments.val_json is None:
        raise UserError(f"{paths[0]} does not say on which data set it was predicted; give --benchmark or --val-json")
    truth = predictions.ground_truth(benchmark, data=arguments.data, val_json=arguments.val_json)
    for path in paths:
        predictions.check_origin(path, benchmark, truth)
    return truth


def matched(path: Path, truth: Path) -> dict[str, Matches] | None:
    """Task -> matches, for every task that the predictions allow; None if there are no predictions to tell."""
    found = predictions.read(path)
    predictions.check_ids(path, found, truth)
    return {task: match(truth, found, task) for task in predictions.tasks(found)} or None


def pairs_of(truth: Path, a: dict[str, Matches] | None, b: dict[str, Matches] | None) -> dict:
    """The tasks of both; a detector that found nothing is compared on those of the other."""
    tasks = [task for task in (a or b or ["bbox"]) if task in (b or a or ["bbox"])]
    return {task: tuple(side[task] if side else match(truth, [], task) for side in (a, b)) for task in tasks}


def _run_of(path: Path) -> dict:
    run = path.parent / run_guard.FILE
    return json.loads(run.read_text(encoding="utf-8")) if run.exists() else {}


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="compare.py", description="Compare two detectors on the same images by a paired bootstrap.")
    parser.add_argument("a", metavar="A", type=Path, help="folder of a fine-tuning run, or COCO results")
    parser.add_argument("b", metavar="B", type=Path, help="the other one")
    parser.add_argument("--benchmark", metavar="NAME", help="the data set (default: what the runs say)")
    parser.add_argument("--data", metavar="ROOT", help="its folder, where it is not at its usual place")
    parser.add_argument("--val-json", type=Path, metavar="J", help="or its COCO ground truth itself")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="draws of images (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default %(default)s)")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the interval (default %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the numbers as json")
    arguments = parser.parse_args(argv)
    if arguments.resamples < 1:
        raise UserError(f"--resamples must be at least 1, got {arguments.resamples}")
    if arguments.seed < 0:
        raise UserError(f"--seed must be at least 0, got {arguments.seed}")
    if not 0 < arguments.confidence < 1:
        raise UserError(f"--confidence must lie between 0 and 1, got {arguments.confidence}")
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments = _arguments(argv)
    paths = [predictions.find(path) for path in (arguments.a, arguments.b)]
    truth = ground_truth_of(paths, arguments)
    pairs = pairs_of(truth, *(matched(path, truth) for path in paths))
    differences = bootstrap(
        pairs,
        resamples=arguments.resamples,
        seed=arguments.seed,
        confidence=arguments.confidence,
        quiet=False,
    )
    images = next(iter(pairs.values()))[0].images
    print(f"A: {arguments.a}\nB: {arguments.b}")
    print(f"{images} images of {truth}, {arguments.resamples} draws, seed {arguments.seed}\n")
    if (metric := metric_of(truth)) != "coco":
        print(f"note: AP as COCO defines it; the metric of this data set, {metric}, gives other values")
    print(report(differences, arguments.confidence))
    if arguments.out:
        settings = {name: getattr(arguments, name) for name in ("resamples", "seed", "confidence")}
        found = [{**vars(d), "difference": d.value} for d in differences]
        write_json(arguments.out, {"a": str(arguments.a), "b": str(arguments.b), **settings, "differences": found})


if __name__ == "__main__":
    run(main)
