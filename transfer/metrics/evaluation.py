"""The figures of kept predictions, computed again and compared with those of the run."""

import sys
import time
from pathlib import Path
from typing import Any

from runtime import provenance, results
from runtime.command_line import UserError, printable
from runtime.files import sha256, write_json
from transfer.metrics import coco, error_plot, ground_truth, predictions, scorers


def evaluate(path: Path, truth: Path, *, benchmark: str, engine: str, cross_check: bool, out: Path) -> None:
    """Print the figures of the predictions in ``path`` and write evaluation.json and errors.png below ``out``.

    Args:
        truth: COCO json of the ground truth.
        engine: one of ``coco.ENGINES``.
        cross_check: compute them with pycocotools too; UserError if it finds other figures.
    """
    predictions.check_origin(path, benchmark, truth)
    entries = predictions.read(path)
    predictions.check_against(path, entries, truth)
    known, recorded = ground_truth.read(truth), recorded_figures(path.parent / "result.json")
    tasks = predictions.tasks(entries) or sorted(set(recorded) & set(coco.FIGURES)) or ["bbox"]
    scored = [task for task in tasks if task in scorers.scored_tasks(known)]
    if not scored:
        raise UserError(
            f"{path} has predictions of {', '.join(tasks)}; {truth} is scored on "
            f"{', '.join(scorers.scored_tasks(known))}"
        )
    if "segm" in tasks and "segm" not in scored and known.metric == "coco":
        print(f"note: the objects of {truth} are without a mask; predicted masks are not scored", file=sys.stderr)
    if cross_check and known.metric != "coco":
        raise UserError(f"pycocotools has COCO's metric, {benchmark} has that of {known.metric}; no --cross-check")
    began = time.monotonic()
    figures = scorers.score(truth, entries, tasks=scored, engine=engine)
    took, gains = time.monotonic() - began, scorers.errors(truth, entries, tasks=scored)
    print(f"{path}: {len(entries)} predictions, {took:.1f} s")
    print(table(figures, gains))
    content: dict[str, Any] = {"benchmark": benchmark, "engine": engine, "commit": provenance.commit()}
    content |= {"truth_sha256": sha256(truth), "predictions_sha256": sha256(path), "figures": figures, "errors": gains}
    if cross_check:
        content["largest_difference"] = coco.cross_check(truth, entries, figures)
        print(f"cross-check: pycocotools agrees in every figure to {content['largest_difference']:.1e}")
    faults = differences(figures, recorded)
    for line in faults[:5]:
        print(f"note: {line}")
    if recorded and not faults:
        print("result.json says the same")
    if gains:
        error_plot.draw(out / "errors.png", gains)
    write_json(out / "evaluation.json", content)
    print(f"written: {out / 'evaluation.json'}{' and errors.png' if gains else ''}")


def recorded_figures(path: Path) -> dict[str, dict[str, float]]:
    """What result.json, if there is one, says of the same predictions."""
    if not path.exists():
        return {}
    figures: dict[str, dict[str, float]] = {}
    for record in results.read(path):
        figures.setdefault(record.task, {})[record.metric] = record.value
    return figures


def differences(figures: dict[str, dict], recorded: dict[str, dict[str, float]]) -> list[str]:
    """The figures in which a recomputation differs from the recorded one."""
    return [
        f"{task} {name} is {_shown(figures[task].get(name))}, result.json says {_shown(value)}"
        for task in figures
        for name, value in recorded.get(task, {}).items()
        if figures[task].get(name) is None or abs(figures[task][name] - value) > coco.AGREEMENT
    ]


def table(figures: dict[str, dict], gains: dict[str, dict]) -> str:
    """The figures for a terminal: a row per task, then what each kind of error costs."""
    lines = []
    for task, values in figures.items():
        names = [name for name in values if not name.startswith("AP-")]
        lines += [f"{task:<9}" + "".join(f"{name:>7}" for name in names)]
        lines += [" " * 9 + "".join(f"{_shown(values.get(name)):>7}" for name in names)]
        scored = [(value, name[3:]) for name, value in values.items() if name.startswith("AP-") and value is not None]
        ranked = sorted(scored)
        if len(ranked) > 1:
            extremes = [("worst", ranked[:5]), ("best", ranked[:-6:-1])]
            said = "; ".join(f"{kind} {', '.join(f'{printable(n)} {v:.1f}' for v, n in few)}" for kind, few in extremes)
            lines.append(f"{'':9}  AP by category, {said}")
        if task in gains:
            costs = ", ".join(f"{kind} {gains[task][kind]:.1f}" for kind in coco.ERRORS)
            lines.append(f"{'':9}  AP50 lost to {costs}")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
