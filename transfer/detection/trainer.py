"""Detectron2's trainer, made to resume exactly, to run without a GPU, and to prove what it loaded."""

import weakref

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, build_detection_test_loader, get_detection_dataset_dicts
from detectron2.engine import AMPTrainer, DefaultTrainer, SimpleTrainer, TrainerBase, hooks
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, JSONWriter, TensorboardXWriter
from torch.nn.parallel import DistributedDataParallel

from runtime import distributed
from runtime.stopping import StopRequest
from transfer.detection import hooks as our_hooks
from transfer.detection import samplers, verify_weights
from transfer.detection.activations import checkpoint_stages
from transfer.detection.checkpointer import Checkpointer
from transfer.detection.freeze import freeze_trunk
from transfer.detection.precision import in_bfloat16

PRECISE_BN_SEED = 1_000_000_007
"""Added to the seed for the batches of PreciseBN, so that they are not those of the last iterations."""


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
        self.records = get_detection_dataset_dicts(
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
        mixed = cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cuda"
        self._trainer = (AMPTrainer if mixed else SimpleTrainer)(model, None, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = Checkpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.register_hooks(self._hooks_in_order(evaluate, stop))

    @classmethod
    def build_model(cls, cfg: CfgNode):
        """The detector, with the trunk frozen and the precision reduced where the settings say so."""
        model = super().build_model(cfg)
        if cfg.TRANSFER.CHANNELS_LAST:
            model = model.to(memory_format=torch.channels_last)
        if cfg.TRANSFER.FREEZE_BACKBONE_WEIGHTS:
            freeze_trunk(model)
        if cfg.TRANSFER.CHECKPOINT_ACTIVATIONS:
            checkpoint_stages(model)
        if cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu":
            in_bfloat16(model)
        return model

    def load_pretrained(self, arrays: dict[str, np.ndarray]) -> verify_weights.Proof:
        """Load MODEL.WEIGHTS, whose ``arrays`` are given, and prove that each of them arrived."""
        self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])
        return verify_weights.prove(self.checkpointer.model.state_dict(), arrays)

    def resume(self) -> bool:
        """Continue from the output folder's last checkpoint; False if there is none."""
        if not self.checkpointer.has_checkpoint():
            return False
        self.checkpointer.load(self.checkpointer.get_checkpoint_file())
        self.start_iter = self.iter + 1
        return True

    def train(self) -> None:
        """Train from ``start_iter`` to the end."""
        if self.start_iter < self.max_iter:
            self.data_loader = self.training_loader(seed=self.cfg.SEED, start=self.start_iter)
            TrainerBase.train(self, self.start_iter, self.max_iter)

    def training_loader(self, *, seed: int, start: int = 0, workers: int | None = None):
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
        return samplers.loader(self.records, DatasetMapper(cfg, is_train=True), batches, workers=workers)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        """This rank's share of the validation images, TRANSFER.EVALUATION_BATCH at a time."""
        records = get_detection_dataset_dicts(dataset_name, filter_empty=False)
        return build_detection_test_loader(
            records,
            mapper=DatasetMapper(cfg, is_train=False),
            batch_size=cfg.TRANSFER.EVALUATION_BATCH,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )

    def _hooks_in_order(self, evaluate, stop: StopRequest) -> list:
        """The order matters: statistics before the checkpoint that holds them, evaluation after it, writers late."""
        cfg = self.cfg
        precise = our_hooks.PreciseBN(
            lambda: self.training_loader(seed=cfg.SEED + PRECISE_BN_SEED, workers=0),
            iterations=cfg.TEST.PRECISE_BN.NUM_ITER,
            period=cfg.TEST.EVAL_PERIOD,
        )
        found = [our_hooks.SeedIteration(cfg.SEED), hooks.IterationTimer(), hooks.LRScheduler()]
        found += [precise] if cfg.TEST.PRECISE_BN.ENABLED else []
        if distributed.is_main():
            found.append(self._checkpoint_hook())
        found.append(our_hooks.Evaluate(evaluate, period=cfg.TEST.EVAL_PERIOD))
        found.append(our_hooks.ShowProgress())
        if distributed.is_main():
            found.append(hooks.PeriodicWriter(self.build_writers(), period=20))
        return [*found, our_hooks.StopOnSignal(stop, torch.device(cfg.MODEL.DEVICE))]

    def _checkpoint_hook(self):
        return hooks.PeriodicCheckpointer(
            self.checkpointer, self.cfg.SOLVER.CHECKPOINT_PERIOD, max_to_keep=self.cfg.TRANSFER.CHECKPOINTS_KEPT
        )

    def build_writers(self) -> list:
        """The log file's lines, metrics.json, and TensorBoard if wanted."""
        writers = [CommonMetricPrinter(self.max_iter), JSONWriter(f"{self.cfg.OUTPUT_DIR}/metrics.json")]
        return writers + ([TensorboardXWriter(self.cfg.OUTPUT_DIR)] if self.cfg.TRANSFER.TENSORBOARD else [])
