"""Detectron2's trainer, made to resume exactly, to run without a GPU, and to verify what it loaded."""

import json
import weakref
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import get_detection_dataset_dicts
from detectron2.engine import DefaultTrainer, TrainerBase, hooks
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from pretrain.monitoring.data_wait import DataClock
from runtime import distributed
from runtime.files import write_text
from runtime.stopping import StopRequest
from transfer.detection import hooks as our_hooks
from transfer.detection import images, losses, samplers, verify_weights
from transfer.detection.checkpointer import Checkpointer
from transfer.detection.model_surgery import checkpoint_stages, freeze_backbone, in_bfloat16
from transfer.detection.optimizer import optimizer_of

PRECISE_BN_SEED = 1_000_000_007
"""Added to the seed for the batches of PreciseBN, so that they are not those of the last iterations."""


METRICS = "metrics.json"


def records_of(*names: Any, **options: Any) -> list[dict]:
    """Detectron2's records of data sets, loaded as `get_detection_dataset_dicts` does."""
    records: Any = get_detection_dataset_dicts(*names, **options)
    return records


class Trainer(DefaultTrainer):
    """Fine-tunes one detector.

    Args:
        cfg: resolved settings; ``cfg.SEED`` must be set.
        evaluate: called for an evaluation every TEST.EVAL_PERIOD iterations; not after the last one, because the
            final numbers come from the saved checkpoint.
        stop: when it asks to stop, the run saves and raises ``Stopped``.
    """

    def __init__(self, cfg: CfgNode, *, evaluate, stop: StopRequest):
        TrainerBase.__init__(self)
        self.cfg = cfg
        self.start_iter, self.max_iter = 0, cfg.SOLVER.MAX_ITER
        self.records: list[dict] = records_of(
            cfg.DATASETS.TRAIN,
            cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            min_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0,
        )
        self.repeats = samplers.repeat_factors(
            self.records, sampler=cfg.DATALOADER.SAMPLER_TRAIN, threshold=cfg.DATALOADER.REPEAT_THRESHOLD
        )
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        if comm.get_world_size() > 1:
            # Detectron2's own wrapper names a GPU per rank, which a model on CPU refuses.
            ids = [comm.get_local_rank()] if cfg.MODEL.DEVICE == "cuda" else None
            model = DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)
            if cfg.TRANSFER.FLOAT16_GRADIENTS and cfg.MODEL.DEVICE == "cuda":
                model.register_comm_hook(None, fp16_compress_hook)
        mixed = cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cuda"
        self._trainer = (losses.MixedStep if mixed else losses.Step)(model, None, optimizer)
        self.losses = self._trainer.losses = losses.Losses(self._losses_due)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = Checkpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.register_hooks(self._hooks_in_order(evaluate, stop))

    @classmethod
    def build_model(cls, cfg: CfgNode):
        """The detector, with the backbone frozen and the precision reduced where the settings say so."""
        model = super().build_model(cfg)
        if cfg.TRANSFER.CHANNELS_LAST:
            model = model.to(memory_format=torch.channels_last)
        if cfg.TRANSFER.FREEZE_BACKBONE_WEIGHTS:
            freeze_backbone(model)
        if cfg.TRANSFER.CHECKPOINT_ACTIVATIONS:
            checkpoint_stages(model)
        if cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu":
            in_bfloat16(model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
        """SGD or AdamW, as the protocol says."""
        return optimizer_of(cfg, model)

    def load_pretrained(self, content: dict) -> verify_weights.Proof:
        """Load converted weights (``content`` of their file) and verify that each of them arrived."""
        self.checkpointer.load_weights(content)
        return verify_weights.verify(self.checkpointer.model.state_dict(), content["model"])

    def resume(self) -> bool:
        """Continue from the output folder's newest checkpoint that can be read; False if there is none.

        Either way metrics.json keeps only what leads to where the run begins: one that was killed before its first
        checkpoint, perhaps of other settings, has left lines there too.
        """
        resumed = self.checkpointer.resume() is not None
        self.start_iter = self.iter + 1 if resumed else 0
        if distributed.is_main():
            drop_metrics_from(Path(self.cfg.OUTPUT_DIR) / METRICS, self.start_iter)
        return resumed

    def train(self) -> None:
        """Train from ``start_iter`` to the end."""
        if self.start_iter < self.max_iter:
            self.data_loader = DataClock(
                self.training_loader(seed=self.cfg.SEED, start=self.start_iter),
                images=self.cfg.SOLVER.IMS_PER_BATCH,
                workers=self.cfg.DATALOADER.NUM_WORKERS,
            )
            TrainerBase.train(self, self.start_iter, self.max_iter)

    def training_loader(self, *, seed: int, start: int = 0, workers: int | None = None) -> images.Batches:
        """Batches of this rank from iteration ``start`` on."""
        cfg, world_size = self.cfg, comm.get_world_size()
        batches = samplers.TrainingBatches(
            samplers.shape_buckets(self.records, grouped=cfg.DATALOADER.ASPECT_RATIO_GROUPING),
            cfg.SOLVER.IMS_PER_BATCH // world_size,
            seed=seed,
            start=start,
            rank=comm.get_rank(),
            world_size=world_size,
            repeats=self.repeats,
        )
        workers = cfg.DATALOADER.NUM_WORKERS if workers is None else workers
        return images.training_batches(self.records, cfg, batches, workers=workers)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> images.Batches:
        """This rank's share of the validation images, TRANSFER.EVALUATION_BATCH at a time."""
        return images.test_batches(records_of(dataset_name, filter_empty=False), cfg)

    def _hooks_in_order(self, evaluate, stop: StopRequest) -> list:
        """The order matters: all that is said of an iteration is written before the checkpoint from which the next goes
        on, so a run that is killed between the two says it again."""
        cfg = self.cfg
        precise = our_hooks.PreciseBN(
            lambda: self.training_loader(seed=cfg.SEED + PRECISE_BN_SEED, workers=0),
            iterations=cfg.TEST.PRECISE_BN.NUM_ITER,
            period=cfg.TEST.EVAL_PERIOD,
        )
        found = [our_hooks.SeedIteration(cfg.SEED), hooks.IterationTimer(), hooks.LRScheduler()]
        found += [precise] if cfg.TEST.PRECISE_BN.ENABLED else []
        found.append(our_hooks.Evaluate(evaluate, period=cfg.TEST.EVAL_PERIOD))
        found.append(our_hooks.ShowProgress())
        if distributed.is_main():
            found.append(hooks.PeriodicWriter(self.build_writers(), period=losses.PERIOD))
            found.append(
                our_hooks.SaveCheckpoints(period=cfg.SOLVER.CHECKPOINT_PERIOD, kept=cfg.TRANSFER.CHECKPOINTS_KEPT)
            )
        return [*found, our_hooks.StopOnSignal(stop, torch.device(cfg.MODEL.DEVICE))]

    def _losses_due(self, iteration: int) -> bool:
        """Whether the losses are wanted: by the writers, or because no checkpoint may follow a loss that is none."""
        done = iteration + 1
        return done == self.max_iter or done % losses.PERIOD == 0 or done % self.cfg.SOLVER.CHECKPOINT_PERIOD == 0

    def build_writers(self) -> list:
        """The log file's lines, metrics.json, and TensorBoard if wanted."""
        writers = [CommonMetricPrinter(self.max_iter), CurveWriter(f"{self.cfg.OUTPUT_DIR}/{METRICS}")]
        return writers + ([TensorboardXWriter(self.cfg.OUTPUT_DIR)] if self.cfg.TRANSFER.TENSORBOARD else [])


class CurveWriter(EventWriter):
    """Detectron2's writer of metrics.json, which opens the file at its first line.

    By then a resumed run has dropped the lines that it will write again; a file opened before would be the old one.
    """

    def __init__(self, path: str):
        self.path, self.writer = path, None

    def write(self) -> None:
        self.writer = self.writer or JSONWriter(self.path)
        self.writer.write()

    def close(self) -> None:
        if self.writer:
            self.writer.close()


def drop_metrics_from(path: Path, iteration: int) -> None:
    """Leave in metrics.json what an uninterrupted run had written before ``iteration``: whole lines, each once."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if (number := _iteration(line)) is not None and number < iteration]
    if kept != lines:
        write_text(path, "".join(kept))


def _iteration(line: str) -> int | None:
    """The iteration of a whole line of metrics.json; None of a damaged one."""
    try:
        number = json.loads(line)["iteration"] if line.endswith("\n") else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return number if isinstance(number, int) else None
