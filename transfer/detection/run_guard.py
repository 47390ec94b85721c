"""What a fine-tuning run is: kept in its folder, so that no other run continues or overwrites it unnoticed."""

import json
from pathlib import Path

from detectron2.config import CfgNode

from runtime import run_guard
from runtime.files import sha256
from transfer.datasets.benchmarks import Paths
from transfer.detection.protocol import flatten

INCIDENTAL = {
    "OUTPUT_DIR",
    "MODEL.WEIGHTS",
    "MODEL.DEVICE",
    "DATALOADER.NUM_WORKERS",
    "TRANSFER.EVALUATION_BATCH",
    "TRANSFER.EVALUATION_ENGINE",
    "TRANSFER.PICTURES",
    "TRANSFER.CHECKPOINTS_KEPT",
    "TRANSFER.CHECKPOINT_ACTIVATIONS",
    "TRANSFER.TENSORBOARD",
    "TRANSFER.TRIALS",
    "SOLVER.CHECKPOINT_PERIOD",
}
"""Settings that may differ when a run resumes: where and how fast, not what. Weights and data are compared by hash."""


def identity(cfg: CfgNode, *, protocol: str, benchmark: Paths, weights_sha256: str) -> dict:
    """Everything that decides the outcome of a run, as plain values."""
    settings = {key: value for key, value in flatten(cfg).items() if key not in INCIDENTAL}
    return {
        "protocol": protocol,
        "benchmark": benchmark.name,
        "train_json_sha256": sha256(benchmark.train.json),
        "val_json_sha256": sha256(benchmark.val.json),
        "weights_sha256": weights_sha256,
        "settings": json.loads(json.dumps(settings)),  # tuples become the lists that reading back gives
    }


def claim(folder: Path, run: dict) -> None:
    """Make ``folder`` the folder of ``run``; it stays so if it was before. The first rank calls this, alone.

    Raises UserError that names what differs if another run began there, or if files of unknown origin lie there.
    """
    run_guard.RunGuard(folder=folder, outputs=(run_guard.FILE, "last_checkpoint")).claim(run, every_rank=False)
