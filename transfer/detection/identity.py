"""What a fine-tuning run is: kept in its folder, so that no other run continues or overwrites it unnoticed."""

import json
from pathlib import Path

from detectron2.config import CfgNode

from pretrain.command_line import UserError
from pretrain.files import sha256, write_json
from transfer.benchmarks import Paths
from transfer.detection.protocol import flatten

FILE = "run.json"

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
    """Make ``folder`` the folder of ``run``; it stays so if it was before.

    Raises UserError that names what differs if another run began there, or if files of unknown origin lie there.
    """
    path = folder / FILE
    if not path.exists():
        if (folder / "last_checkpoint").exists():
            raise UserError(f"{folder} holds a checkpoint of unknown origin (no {FILE}); choose another --out")
        write_json(path, run)
        return
    begun = json.loads(path.read_text(encoding="utf-8"))
    if differences := list(_differences(begun, run)):
        raise UserError(
            f"{folder} belongs to another run: {'; '.join(differences[:3])}"
            f"{f' and {len(differences) - 3} more' if len(differences) > 3 else ''}; choose another --out or delete it"
        )


def _differences(begun: dict, now: dict):
    for key in now:
        if key != "settings" and begun.get(key) != now[key]:
            yield f"{key} was {_short(begun.get(key))}, is {_short(now[key])}"
    before, after = begun["settings"], now["settings"]
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield f"{key} was {before.get(key)}, is {after.get(key)}"


def _short(value: str | None) -> str:
    """A hash by its first digits; no hash at all is a run from scratch."""
    if not value:
        return "none (random)"
    return value[:12] if len(value) == 64 else value
