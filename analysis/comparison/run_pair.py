"""Two runs, or their predictions, matched with the one ground truth of both."""

from pathlib import Path

from analysis.comparison.image_matches import Matches, match
from runtime import run_guard
from runtime.command_line import UserError
from runtime.read import read_json
from transfer.metrics import predictions
from transfer.metrics.ground_truth import find

RUN_KEYS = ("benchmark", "val_json_sha256")
"""What run.json says of the images."""


def ground_truth(paths: list[Path], *, benchmark: str | None, data: str | None, val_json: Path | None) -> Path:
    """The ground truth of both predictions.

    ``benchmark``, ``data`` and ``val_json`` are what the user says of it; what is None comes from the runs. Raises
    UserError if the two predictions are not of the same images.
    """
    evaluated = [images for images in map(_evaluated_on, paths) if images]
    if len(set(evaluated)) > 1:
        said = " and ".join(
            f"{path} on {name} ({sha[:12]})" for path, (name, sha) in zip(paths, evaluated, strict=True)
        )
        raise UserError(f"the two were not evaluated on the same images: {said}; compare runs on one data set")
    benchmark = benchmark or (evaluated[0][0] if evaluated else None)
    if benchmark is None and val_json is None:
        raise UserError(f"{paths[0]} does not say on which data set it was predicted; give --benchmark or --val-json")
    truth = find(benchmark or "", data=data, val_json=val_json)
    for path in paths:
        predictions.check_origin(path, benchmark or "", truth)
    return truth


def matched(path: Path, truth: Path) -> dict[str, Matches] | None:
    """Task -> matches, for every task that the predictions allow; None if there are no predictions to tell."""
    entries = predictions.read(path)
    predictions.check_against(path, entries, truth)
    return {task: match(truth, entries, task) for task in predictions.tasks(entries)} or None


def pairs_of(truth: Path, a: dict[str, Matches] | None, b: dict[str, Matches] | None) -> dict:
    """The tasks of both that have objects; a detector that found nothing is compared on those of the other.

    Raises UserError if no task has an object: there is nothing to be right about.
    """
    tasks = [task for task in (a or b or ["bbox"]) if task in (b or a or ["bbox"])]
    pairs = {task: tuple(side[task] if side else match(truth, [], task) for side in (a, b)) for task in tasks}
    if tasks and not any(pair[0].objects.any() for pair in pairs.values()):
        raise UserError(f"{truth} holds no object to find ({', '.join(tasks)}; crowds do not count); give another")
    return {task: pair for task, pair in pairs.items() if pair[0].objects.any()}


def _evaluated_on(path: Path) -> tuple[str, str] | None:
    """Benchmark and hash of the ground truth that the run of the predictions had; None where there is no run."""
    run = path.parent / run_guard.FILE
    if not run.exists():
        return None
    content = read_json(run)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), str) for key in RUN_KEYS):
        raise UserError(f"{run} does not say {' and '.join(RUN_KEYS)}; give the predictions alone, with --val-json")
    benchmark, digest = (content[key] for key in RUN_KEYS)
    return benchmark, digest
