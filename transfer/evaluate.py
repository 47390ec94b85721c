"""Evaluate the kept predictions of a detector again.

    python transfer/evaluate.py --results runs/mine/moco-c4-1x-coco_2017 --benchmark coco_2017 --cross-check

reads the folder's predictions.json.gz (or a COCO results json of your own) and computes every figure anew, without a
GPU, weights, detectron2 or torch: AP and AR, AP by size and by category, and which kinds of error cost how much. It
writes evaluation.json and errors.png beside the predictions, and leaves result.json as it is.
"""

import argparse
import time
from pathlib import Path

from runtime import provenance, results
from runtime.command_line import Parser, UserError, run
from runtime.files import sha256, write_json
from transfer.metrics import coco, error_plot, predictions, scorers
from transfer.metrics.coco import ENGINES as ENGINES  # protocols' settings are checked against these
from transfer.metrics.predictions import ground_truth


def errors(truth: Path, found: list[dict], *, tasks: list[str]) -> dict[str, dict[str, float]]:
    """What each kind of error costs (``coco.errors``); empty on a data set with a metric of its own."""
    return coco.errors(truth, found, tasks=tasks) if scorers.metric_of(truth) == "coco" else {}


def recorded(path: Path) -> dict[str, dict[str, float]]:
    """What result.json, if there is one, says of the same predictions."""
    if not path.exists():
        return {}
    found: dict[str, dict[str, float]] = {}
    for record in results.read(path):
        found.setdefault(record.task, {})[record.metric] = record.value
    return found


def differences(figures: dict[str, dict], known: dict[str, dict[str, float]]) -> list[str]:
    """The figures in which a recomputation departs from what was recorded."""
    return [
        f"{task} {name} is {_shown(figures[task].get(name))}, result.json says {_shown(value)}"
        for task in figures
        for name, value in known.get(task, {}).items()
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
            said = "; ".join(f"{kind} {', '.join(f'{n} {v:.1f}' for v, n in few)}" for kind, few in extremes)
            lines.append(f"{'':9}  AP by category, {said}")
        if task in gains:
            costs = ", ".join(f"{kind} {gains[task][kind]:.1f}" for kind in coco.ERRORS)
            lines.append(f"{'':9}  AP50 lost to {costs}")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="evaluate.py", description="Compute the figures of kept predictions again, without a GPU.")
    parser.add_argument("--results", type=Path, required=True, metavar="R", help="folder of a run, or COCO results")
    parser.add_argument("--benchmark", required=True, metavar="B", help="the data set they were predicted on")
    parser.add_argument("--data", metavar="ROOT", help="its folder, where it is not at its usual place")
    parser.add_argument("--val-json", type=Path, metavar="J", help="or its COCO ground truth itself")
    parser.add_argument("--engine", default="hotcoco", help=f"{' or '.join(ENGINES)} (default %(default)s)")
    parser.add_argument("--cross-check", action="store_true", help="compute them with pycocotools too, and compare")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for evaluation.json, errors.png (beside R)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    arguments = _arguments(argv)
    path = predictions.find(arguments.results)
    truth = ground_truth(arguments.benchmark, data=arguments.data, val_json=arguments.val_json)
    predictions.check_origin(path, arguments.benchmark, truth)
    found = predictions.read(path)
    predictions.check_ids(path, found, truth)
    known = recorded(path.parent / "result.json")
    tasks = predictions.tasks(found) or sorted(set(known) & set(coco.FIGURES)) or ["bbox"]
    if arguments.cross_check and (metric := scorers.metric_of(truth)) != "coco":
        raise UserError(
            f"pycocotools knows COCO's metric, {arguments.benchmark} has that of {metric}; no --cross-check"
        )
    began = time.monotonic()
    figures = scorers.score(truth, found, tasks=tasks, engine=arguments.engine)
    took, gains = time.monotonic() - began, errors(truth, found, tasks=tasks)
    print(f"{path}: {len(found)} predictions, {took:.1f} s")
    print(table(figures, gains))
    content = {"benchmark": arguments.benchmark, "engine": arguments.engine, "commit": provenance.commit()}
    content |= {"truth_sha256": sha256(truth), "predictions_sha256": sha256(path), "figures": figures, "errors": gains}
    if arguments.cross_check:
        content["largest_difference"] = coco.cross_check(truth, found, figures)
        print(f"cross-check: pycocotools agrees in every figure to {content['largest_difference']:.1e}")
    for line in (faults := differences(figures, known))[:5]:
        print(f"note: {line}")
    if known and not faults:
        print("result.json says the same")
    out = arguments.out or path.parent
    if gains:
        error_plot.draw(out / "errors.png", gains)
    write_json(out / "evaluation.json", content)
    print(f"written: {out / 'evaluation.json'}{' and errors.png' if gains else ''}")


if __name__ == "__main__":
    run(main)
