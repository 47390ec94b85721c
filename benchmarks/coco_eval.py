"""How fast the engines of COCO evaluation are, and what memory they take.

    python benchmarks/coco_eval.py                           1,500 images, 84,000 detections, boxes and masks
    python benchmarks/coco_eval.py --images 5000 --engines hotcoco

Drawn ground truth and predictions of a detector of middling quality over 80 categories, some crowds. Each repetition
runs the engines in turns, each in a fresh process, and the median counts. "evaluate" is matching, accumulating and
summing up; "from files" adds reading both files. The last lines are the suite's own score, boxes and masks together, as
transfer/evaluate.py computes it. All figures of the engines are compared before anything is printed.
"""

import argparse
import contextlib
import gzip
import io
import json
import platform
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from runtime.command_line import Parser, UserError, run
from runtime.progress import Progress
from runtime.provenance import commit
from transfer.metrics import coco, predictions

HEIGHT, WIDTH, CATEGORIES, OBJECTS, TRIES = 480, 640, 80, 7, 8
"""Of an image, in pixels, and per image: objects, and predictions of each object."""

KNOWN = ("pycocotools", "faster-coco-eval", "hotcoco")
"""Measured where they are installed; the suite itself needs only the first and the last."""

OWN = "suite"


def draw(folder: Path, images: int, seed: int = 0) -> None:
    """Write truth.json, bbox.json, segm.json and predictions.json.gz."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for image in range(1, images + 1):
        for _ in range(OBJECTS):
            size = np.exp(rng.uniform(np.log(12), np.log(300), 2))
            box = [*rng.uniform(0, np.maximum((WIDTH, HEIGHT) - size, 1)), *size]
            category, crowd = int(rng.integers(1, CATEGORIES + 1)), int(rng.random() < 0.01)
            mask = run_length(box) if crowd else [outline(box)]
            objects.append({"id": len(objects) + 1, "image_id": image, "category_id": category, "iscrowd": crowd})
            objects[-1] |= {"bbox": list(map(float, box)), "area": float(size.prod()), "segmentation": mask}
            for _ in range(TRIES):
                moved = np.array(box) + rng.normal(0, 0.08, 4) * size.repeat(2)
                moved[2:] = np.maximum(moved[2:], 2)
                right = rng.random() < 0.7
                entry = {"image_id": image, "category_id": category if right else int(rng.integers(1, CATEGORIES + 1))}
                entry |= {"bbox": moved.round(2).tolist(), "score": round(float(rng.random()), 3)}
                found.append(entry | {"segmentation": run_length(moved)})
    truth = {
        "images": [{"id": k, "file_name": f"{k}.jpg", "height": HEIGHT, "width": WIDTH} for k in range(1, images + 1)],
        "annotations": objects,
        "categories": [{"id": k, "name": f"kind-{k}"} for k in range(1, CATEGORIES + 1)],
    }
    (folder / "truth.json").write_text(json.dumps(truth))
    for task, key in (("bbox", "segmentation"), ("segm", "bbox")):
        kept = [{name: value for name, value in entry.items() if name != key} for entry in found]
        (folder / f"{task}.json").write_text(json.dumps(kept))
    with gzip.open(folder / "predictions.json.gz", "wt", compresslevel=1) as file:
        json.dump(found, file)


def outline(box) -> list[float]:
    """An ellipse of 24 corners in the box, as x, y, x, y, ..."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x, y = box[0] + box[2] / 2 * (1 + np.cos(angle)), box[1] + box[3] / 2 * (1 + np.sin(angle))
    return np.stack([x, y], 1).ravel().round(2).tolist()


def run_length(box) -> dict:
    mask = coco_mask.frPyObjects([outline(box)], HEIGHT, WIDTH)[0]
    return {"size": mask["size"], "counts": mask["counts"].decode()}


def measure(engine: str, task: str, folder: str, clock: str) -> dict:
    """Seconds, peak MiB and figures of one engine in this process."""
    now = time.process_time if clock == "cpu" else time.perf_counter
    with contextlib.redirect_stdout(io.StringIO()):
        if engine == OWN:
            return _own(Path(folder), now)
        COCO, COCOeval = classes(engine)
        began = now()
        truth = COCO(f"{folder}/truth.json")
        found = truth.loadRes(f"{folder}/{task}.json")
        read = now()
        result = COCOeval(truth, found, task)
        result.evaluate()
        result.accumulate()
        result.summarize()
        done = now()
    return {"evaluate": done - read, "files": done - began, "peak": peak_mib(), "stats": list(map(float, result.stats))}


def _own(folder: Path, now) -> dict:
    began = now()
    found = predictions.read(folder / "predictions.json.gz")
    read = now()
    figures = coco.score(folder / "truth.json", found, tasks=["bbox", "segm"], engine="hotcoco")
    done = now()
    stats = [figures[task][name] / 100 for task in figures for name in coco.FIGURES[task]]
    return {"evaluate": done - read, "files": done - began, "peak": peak_mib(), "stats": stats}


def classes(engine: str):
    if engine == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    if engine == "hotcoco":
        from hotcoco import COCO, COCOeval

        return COCO, COCOeval
    from faster_coco_eval import COCO, COCOeval_faster

    return COCO, COCOeval_faster


def peak_mib() -> float:
    """The most memory this process has had (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10


def repeat(options: argparse.Namespace, folder: str) -> dict[tuple[str, str], list[dict]]:
    """All measurements, engine by engine in turns, each in a fresh process."""
    cases = [(engine, task) for task in ("bbox", "segm") for engine in options.engines] + [(OWN, "bbox+segm")]
    found: dict[tuple[str, str], list[dict]] = {case: [] for case in cases}
    progress = Progress(options.repeat * len(cases), "benchmark")
    for turn in range(options.repeat):
        for k, case in enumerate(cases, 1):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                found[case].append(fresh.submit(measure, *case, folder, options.clock).result())
            progress.update(turn * len(cases) + k)
    return found


def line(case: tuple[str, str], runs: list[dict], slowest: float | None) -> str:
    evaluate, files = (statistics.median(run[key] for run in runs) for key in ("evaluate", "files"))
    ratio = f"{slowest / evaluate:.0f}x" if slowest else ""
    return f"| {case[0]} | {case[1]} | {evaluate:.2f} | {ratio} | {files:.2f} | {max(r['peak'] for r in runs):.0f} |"


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description="Time the engines of COCO evaluation on drawn data.")
    parser.add_argument("--images", type=int, default=1500, help="each with 7 objects, 56 detections (%(default)s)")
    installed = [name for name in KNOWN if find_spec(name.replace("-", "_"))]
    parser.add_argument("--engines", default=",".join(installed), help="compared, comma separated (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="the median counts (%(default)s)")
    parser.add_argument("--clock", choices=["cpu", "wall"], default="cpu", help="cpu adds all threads (%(default)s)")
    options = parser.parse_args(argv)
    options.engines = options.engines.split(",")
    if unknown := set(options.engines) - set(KNOWN):
        raise UserError(f"unknown engine {min(unknown)!r}; known: {', '.join(KNOWN)}")
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), options.images)
        found = repeat(options, folder)
    for task in ("bbox", "segm"):
        stats = [found[engine, task][0]["stats"] for engine in options.engines]
        worst = max(float(np.abs(np.subtract(stats[0], other)).max()) for other in stats)
        print(f"{task}: AP {100 * stats[0][0]:.2f}; the 12 figures differ by at most {worst:.1e} between engines")
    print(
        f"{options.images} images, {options.images * OBJECTS * TRIES} detections, {CATEGORIES} categories, median of "
        f"{options.repeat}, {options.clock} seconds; {platform.machine()}, commit {commit()}\n"
    )
    print("| engine | task | evaluate s | against pycocotools | from files s | peak MiB |")
    print("|---|---|---:|---:|---:|---:|")
    for case, runs in found.items():
        reference = found.get(("pycocotools", case[1]))
        print(line(case, runs, statistics.median(r["evaluate"] for r in reference) if reference else None))


if __name__ == "__main__":
    run(main)
