"""A search for the learning rate as a part of a protocol: chosen on held-out training images, reported beside the rest.

Papers tune the rate for each method (SimSiam, Barlow Twins, VICReg) and compare with rows that were not tuned. Here
both rows are made: the protocol's own, and ``<protocol>+lr`` with the rate that did best on a tenth of the training
images, which the search held out. The validation set has no part in the choice.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from runtime import distributed, results
from runtime.command_line import UserError
from runtime.files import write_json, write_text
from runtime.results import Record
from transfer.datasets import coco_json, subset
from transfer.datasets.benchmarks import Paths, Split
from transfer.detection.fine_tuning import Diverged, Run, RunSpec, complete, finish
from transfer.detection.launch import main_first

FRACTION = 0.1
"""Of the training images, held out while searching."""

SUFFIX = "+lr"


def search(spec: RunSpec, tried: list[float], *, make: Callable[[RunSpec], Run]) -> None:
    """Try every rate on held-out images, then run the protocol with the best one, and as it is.

    Files below ``spec.out``: ``search/lr-*/`` and ``search/search.json``, ``tuned/result.json``, and the plain run's
    own, whose result.json comes last.
    """
    plain = make(spec)
    plain.prepare()
    halves = main_first(lambda: held_out(spec.paths, spec.out / "search"))
    scores = {f"{rate:g}": _try(spec, halves, rate, make) for rate in tried}
    known = {rate: score for rate, score in scores.items() if score is not None}
    if not known:
        raise UserError(f"fine-tuning diverged at every rate of --search-lr {','.join(scores)}; search lower ones")
    own = f"{plain.cfg.SOLVER.BASE_LR * spec.scale:g}"
    best = max(known, key=lambda rate: (known[rate], rate == own))
    if distributed.is_main():
        chosen = {"held_out_ap": scores, "chosen": float(best), "protocol": float(own), "fraction": FRACTION}
        write_json(spec.out / "search" / "search.json", chosen)
        print(f"learning rate {best} of {', '.join(scores)} (the protocol's is {own})")
    tuned = replace(spec, out=spec.out / "tuned", base_lr=float(best), label=spec.protocol + SUFFIX)
    if best != own:
        complete(make(tuned))
    finish(plain)
    if best == own and distributed.is_main():
        _copy(spec.out / spec.result, tuned)


def held_out(paths: Paths, folder: Path) -> Paths:
    """The training images of ``paths`` in two: ``folder``'s train.json, and val.json with the tenth to choose by.

    They are drawn anew each time: files of before may be of annotations that have changed since, and the runs that were
    made on those are then refused as others.
    """
    halves = {half: Split(folder / f"{half}.json", paths.train.images) for half in ("train", "val")}
    content = coco_json.read(paths.train.json)
    if len(content["images"]) < 2:
        raise UserError(f"{paths.train.json} has {len(content['images'])} image; a search needs some to hold out")
    inside, rest = subset.split(content, FRACTION, salt=subset.HELD_OUT)
    if all(entry.get("iscrowd") for entry in inside["annotations"]):
        raise UserError(
            f"the tenth of {paths.train.json} that a search holds out ({len(inside['images'])} images) has no object "
            "to choose a rate by; leave --search-lr out"
        )
    for half, content in (("val", inside), ("train", rest)):
        _write_changed(halves[half].json, json.dumps(content))
    return Paths(f"{paths.name}/held-out", halves["train"], halves["val"])


def _write_changed(path: Path, text: str) -> None:
    """Write a file that does not hold ``text`` already; of several processes only the first then writes."""
    if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_text(path, text)


def _try(spec: RunSpec, halves: Paths, rate: float, make: Callable[[RunSpec], Run]) -> float | None:
    """AP on the held-out images, averaged over the detector's tasks; None if it diverged."""
    out = spec.out / "search" / f"lr-{rate:g}"
    run = make(replace(spec, out=out, paths=halves, base_lr=rate, result="held_out.json"))
    try:
        complete(run)
    except Diverged as error:
        if distributed.world_size() > 1:  # the other processes wait for this one
            raise
        print(f"learning rate {rate:g}: {error}")
        return None
    figures = [record.value for record in results.read(out / "held_out.json") if record.metric == "AP"]
    return sum(figures) / len(figures)


def _copy(result: Path, tuned: RunSpec) -> None:
    """The protocol's own rate was the best: its figures are the tuned ones too."""
    records = [Record(**{**vars(record), "protocol": tuned.label}) for record in results.read(result)]
    results.write(tuned.out / tuned.result, records, **results.context(result), same_run_as=str(result))
