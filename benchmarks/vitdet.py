"""What a training step of demo-vitdet costs beside the same model driven by Detectron2's plain loop.

    python benchmarks/vitdet.py [--steps 40] [--rounds 5]

One thread, CPU time, in turns within one process. Both train on the same drawn scenes, eight images a step. "plain" is
Detectron2's SimpleTrainer with its own loader and mapper, its AdamW over the same groups of parameters and no hooks but
the schedule; "suite" is transfer.detection.trainer with all its hooks, less checkpoints. The ratio holds between
machines; the seconds do not.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from detectron2.data import DatasetMapper, build_detection_train_loader
from detectron2.engine import SimpleTrainer, hooks
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler
from detectron2.utils.events import EventStorage

from pretrain.data import scenes
from runtime.stopping import StopRequest
from transfer.datasets import benchmarks, validate_coco
from transfer.detection import model_surgery, run_config
from transfer.detection.optimizer import optimizer_of
from transfer.detection.trainer import Trainer

NAME = "demo-vitdet"


def settings(folder: Path, steps: int):
    """demo-vitdet on scenes drawn in ``folder``."""
    scenes.write(folder / "scenes", images=96, size=64, seed=0)
    paths = benchmarks.locate("scenes", root=str(folder / "scenes"), paths={})
    summary, _ = validate_coco.check_both(paths)
    cfg = run_config.load(NAME, {"SOLVER.MAX_ITER": steps, "SOLVER.STEPS": [], "SOLVER.CHECKPOINT_PERIOD": 10 * steps})
    run_config.resolve(cfg, paths, summary, out=folder, seed=0, weights="", world_size=1, device="cpu")
    return cfg


class Plain(SimpleTrainer):
    """Detectron2's loop over Detectron2's loader."""

    def __init__(self, cfg, model, optimizer):
        mapper = DatasetMapper(cfg, is_train=True)  # pyright: ignore
        loader = build_detection_train_loader(cfg, mapper=mapper)  # pyright: ignore
        super().__init__(model, loader, optimizer)
        self.scheduler = build_lr_scheduler(cfg, optimizer)
        self.register_hooks([hooks.LRScheduler(optimizer, self.scheduler)])


def plain(cfg) -> Callable[[], None]:
    """A run of the plain loop, from the model to the last step."""
    model = build_model(cfg)
    if cfg.SOLVER.AMP.ENABLED:
        model_surgery.in_bfloat16(model)  # Detectron2's own mixed precision is for GPUs: the same model is compared
    trainer = Plain(cfg, model, optimizer_of(cfg, model))
    return lambda: trainer.train(0, cfg.SOLVER.MAX_ITER)


def suite(cfg) -> Callable[[], None]:
    """A run of the suite's trainer, without the checkpoint at its end."""
    trainer = Trainer(cfg, evaluate=dict, stop=StopRequest())
    trainer.checkpointer.save_to_disk = False
    return trainer.train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {"plain": [], "suite": []}
    with tempfile.TemporaryDirectory() as folder, EventStorage():
        cfg = settings(Path(folder), options.steps)
        for number in range(options.rounds + 1):  # the first warms caches up and does not count
            for name, make in (("plain", plain), ("suite", suite))[:: 1 if number % 2 else -1]:
                torch.manual_seed(0)
                run = make(cfg)
                began = time.process_time()
                run()
                if number:
                    seconds[name].append((time.process_time() - began) / options.steps)
    for name, values in seconds.items():
        print(f"{name:6} {statistics.median(values):.4f} s a step (of {', '.join(f'{v:.4f}' for v in values)})")
    ratios = [ours / theirs for ours, theirs in zip(seconds["suite"], seconds["plain"], strict=True)]
    print(f"suite / plain: {statistics.median(ratios):.3f}, each round {', '.join(f'{r:.3f}' for r in ratios)}")


if __name__ == "__main__":
    main()
