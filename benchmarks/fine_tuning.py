"""What an iteration of fine-tuning costs against Detectron2's plain trainer, and what packing predicted masks costs.

    python benchmarks/fine_tuning.py [--rounds 5] [--protocols demo-fpn,moco-fpn-1x]

One thread, CPU time, the two trainers in turns, from the same weights, on the same batches of drawn scenes (enlarged to
``--side`` pixels for protocols other than the demo's). Both have the suite's model and precision; the plain one is
Detectron2's SimpleTrainer on inputs with Detectron2's own masks, with the optimiser and the learning rates that
Detectron2 builds. Reading and mapping of images is in neither time. At the end the two have the same weights, bit for
bit.
"""

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.engine import DefaultTrainer, SimpleTrainer
from detectron2.structures import PolygonMasks
from detectron2.utils.events import EventStorage
from pycocotools import mask as coco_mask
from torch.optim.lr_scheduler import LRScheduler

from pretrain.data import scenes
from runtime.command_line import Parser, run
from runtime.provenance import commit
from transfer.datasets import benchmarks, validate_coco
from transfer.detection import run_config
from transfer.detection.masks import packed_in_boxes
from transfer.detection.trainer import Trainer

BATCH = 2


def config(protocol: str, data: Path, side: int):
    """The protocol for one CPU process and a batch of two small images."""
    small = {"INPUT.MIN_SIZE_TRAIN": [side], "INPUT.MAX_SIZE_TRAIN": 2 * side} if protocol != "demo-fpn" else {}
    cfg = run_config.load(protocol, {"SOLVER.IMS_PER_BATCH": BATCH, "DATALOADER.NUM_WORKERS": 0, **small})
    paths = benchmarks.locate("scenes", root=str(data), paths=dict.fromkeys(benchmarks.PATHS))
    summary, _ = validate_coco.check_both(paths, images=False)
    run_config.resolve(cfg, paths, summary, out=data, seed=0, weights="", world_size=1, device="cpu")
    cfg.defrost()
    cfg.INPUT.MASK_FORMAT = "polygon"  # as on COCO; of the scenes' own run lengths both trainers make bitmaps
    cfg.freeze()
    return cfg


def as_detectron2(batch: list[dict]) -> list[dict]:
    """The batch with Detectron2's own masks."""
    batch = copy.deepcopy(batch)
    for image in batch:
        image["instances"].gt_masks = PolygonMasks(image["instances"].gt_masks.polygons)
    return batch


def polygons_of_boxes(records: list[dict]) -> None:
    """Give each object a polygon of 24 corners: drawn scenes come with run lengths, COCO mostly with polygons."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for record in records:
        for entry in record["annotations"]:
            x, y, width, height = entry["bbox"]
            ring = [x + width / 2 * (1 + np.cos(angle)), y + height / 2 * (1 + np.sin(angle))]
            entry["segmentation"] = [np.stack(ring, 1).ravel().tolist()]


def trainers(cfg) -> tuple[dict[SimpleTrainer, LRScheduler], list[list[dict]]]:
    """Detectron2's trainer and the suite's, each with its schedule of learning rates, and the batches of the suite."""
    ours = Trainer(cfg, evaluate=dict, stop=None)  # type: ignore[arg-type]  # no hook of it is called
    polygons_of_boxes(ours.records)
    # Built anew: what model surgery put into a copy would still compute with the first model's weights.
    model = Trainer.build_model(cfg)
    model.load_state_dict(ours._trainer.model.state_dict())
    plain = SimpleTrainer(model, None, DefaultTrainer.build_optimizer(cfg, model))
    # A schedule sets the rate of the first iteration (warm-up) as soon as it is built.
    schedules = {plain: DefaultTrainer.build_lr_scheduler(cfg, plain.optimizer), ours._trainer: ours.scheduler}
    batches = iter(ours.training_loader(seed=0, workers=0))
    return schedules, [next(batches) for _ in range(4)]


def iterations(cfg, rounds: int) -> tuple[float, float]:
    """Median CPU seconds of an iteration of the plain trainer and the suite's, which end with the same weights."""
    schedules, batches = trainers(cfg)
    plain, ours = schedules
    inputs: dict[Any, Any] = {plain: [as_detectron2(batch) for batch in batches], ours: batches}
    seconds: dict[Any, list[float]] = {plain: [], ours: []}
    with EventStorage():
        for turn in range(rounds + 1):  # the first round warms up
            order = [plain, ours] if turn % 2 else [ours, plain]
            for trainer in order:
                # The model takes the masks of a batch as they are, and changes nothing in it but what is remade.
                trainer._data_loader_iter_obj = iter(copy.deepcopy(inputs[trainer]))
                torch.manual_seed(turn)
                for number in range(len(batches)):
                    trainer.iter = turn * len(batches) + number
                    begin = time.process_time()
                    trainer.run_step()
                    seconds[trainer] += [time.process_time() - begin] if turn else []
                    schedules[trainer].step()
    theirs = plain.model.state_dict()
    assert all(torch.equal(theirs[name], value) for name, value in ours.model.state_dict().items())
    return statistics.median(seconds[plain]), statistics.median(seconds[ours])


def packing(rounds: int) -> tuple[float, float]:
    """Median CPU seconds to pack 100 masks of 640 x 480 pixels: whole, as Detectron2 does, and in their boxes."""
    rng = np.random.default_rng(0)
    size = np.exp(rng.uniform(np.log(12), np.log(300), (100, 2)))
    corner = rng.uniform(0, 1, (100, 2)) * (np.array([640, 480]) - size)
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    y, x = np.mgrid[:480, :640] + 0.5
    masks = np.stack(
        [(2 * (x - l) / (r - l) - 1) ** 2 + (2 * (y - t) / (b - t) - 1) ** 2 < 1 for l, t, r, b in boxes]  # noqa: E741
    )

    def whole() -> list[str]:
        pixels = [np.array(mask[:, :, None], order="F", dtype="uint8") for mask in masks]
        return [coco_mask.encode(one)[0]["counts"].decode() for one in pixels]  # pyright: ignore

    taken: dict[Any, list[float]] = {whole: [], packed_in_boxes: []}
    assert whole() == [entry["counts"] for entry in packed_in_boxes(masks, boxes)]
    for _ in range(rounds):
        for pack, given in ((whole, ()), (packed_in_boxes, (masks, boxes))):
            begin = time.process_time()
            pack(*given)
            taken[pack].append(time.process_time() - begin)
    return statistics.median(taken[whole]), statistics.median(taken[packed_in_boxes])


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of four iterations; the median counts (%(default)s)")
    parser.add_argument("--protocols", default="demo-fpn,moco-fpn-1x", help="comma separated (%(default)s)")
    parser.add_argument("--side", type=int, default=128, help="pixels of an image's shorter side (%(default)s)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(f"commit {commit()}, batch {BATCH}, median of {options.rounds} rounds, CPU ms\n")
    print("| what | Detectron2 | the suite | share |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        scenes.write(Path(folder) / "scenes", images=48, size=64, seed=0)
        for protocol in options.protocols.split(","):
            cfg = config(protocol, Path(folder) / "scenes", options.side)
            theirs, ours = iterations(cfg, options.rounds)
            print(f"| {protocol}, one iteration | {1e3 * theirs:.1f} | {1e3 * ours:.1f} | {ours / theirs:.3f} |")
    whole, boxed = packing(options.rounds)
    print(f"| packing 100 masks of 640 x 480 | {1e3 * whole:.2f} | {1e3 * boxed:.2f} | {boxed / whole:.3f} |")


if __name__ == "__main__":
    run(main)
