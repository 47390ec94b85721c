"""Protocols: a fine-tuning recipe is a Detectron2 yaml in protocols/, known by its file name.

A yaml may name a ``_BASE_`` and then states only its difference. Files that begin with ``_`` are such bases only. The
comment at the head of each says what it is, then ``Source:`` and ``Expected:``, the cells of other people's tables that
a run of it should come near. ``TRANSFER.VERSION`` rises when a protocol's numbers change; it goes into every result.
"""

from itertools import takewhile
from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from runtime.command_line import UserError, one_of
from transfer.detection import heads as heads  # registers the head that C4 protocols name

FOLDER = Path(__file__).resolve().parent.parent / "protocols"


def available() -> list[str]:
    """The protocols' names."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.yaml"))


def default_config() -> CfgNode:
    """Detectron2's settings plus this suite's, which stand under TRANSFER."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "auto"  # CUDA if there is a GPU; Detectron2's own default fails without one
    # A scratch row must not start from whatever Detectron2 would fetch by default.
    cfg.MODEL.WEIGHTS = ""
    cfg.TRANSFER = CfgNode(
        {
            # Of the protocol, from its yaml.
            "VERSION": 0,
            # Runs over which its literature averages, a seed each.
            "TRIALS": 1,
            # Train the detector on a fixed trunk: no weight of the ResNet under `backbone` moves, neither convolutions
            # nor the affine part of its norms, and its forward pass keeps no gradients. Its norms still use the
            # statistics of the batch. (FREEZE_AT instead fixes the statistics, which a random trunk does not have.)
            # In a C4 detector res5 belongs to the head and is trained.
            "FREEZE_BACKBONE_WEIGHTS": False,
            # Memory format of the convolutions; on CPU it is faster, the numbers stay the same.
            "CHANNELS_LAST": False,
            # Recompute the activations of each stage in the backward pass instead of keeping them: less memory for one
            # more forward pass, the same gradients.
            "CHECKPOINT_ACTIVATIONS": False,
            # hotcoco or pycocotools: the same figures, the first in a fraction of the time.
            "EVALUATION_ENGINE": "hotcoco",
            # Images per forward pass in evaluation, per process.
            "EVALUATION_BATCH": 1,
            # Validation images in predictions.png.
            "PICTURES": 6,
            # Checkpoints kept while training; the last one is always among them.
            "CHECKPOINTS_KEPT": 2,
            # Also write events for TensorBoard (metrics.json is always written).
            "TENSORBOARD": True,
        }
    )
    return cfg


def read(name: str) -> CfgNode:
    """The settings of protocol ``name``. Raises UserError for an unknown one."""
    one_of("protocol", name, available())
    cfg = default_config()
    cfg.merge_from_file(str(FOLDER / f"{name}.yaml"))
    return cfg


def load(name: str, overrides: list[str]) -> CfgNode:
    """The settings of protocol ``name`` with ``overrides`` (KEY VALUE KEY VALUE ...) on top.

    Raises UserError for an unknown protocol or key (near ones are listed) and for a value of another type.
    """
    return override(read(name), overrides)


def override(cfg: CfgNode, overrides: list[str]) -> CfgNode:
    """Put ``overrides`` on top of ``cfg``, which is also returned."""
    if len(overrides) % 2:
        raise UserError(f"settings come in pairs KEY VALUE; {overrides[-1]!r} is left over")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        _check_key(cfg, key)
        try:
            cfg.merge_from_list([key, value])
        except (ValueError, TypeError, AssertionError) as error:
            raise UserError(f"{key} cannot be {value!r}: {' '.join(str(error).split())}") from error
    return cfg


def header(name: str) -> dict[str, str]:
    """What the head of a protocol's yaml says: ``{"title": ..., "source": ..., "expected": ...}``."""
    comment = takewhile(lambda line: line.startswith("#"), (FOLDER / f"{name}.yaml").read_text("utf-8").splitlines())
    title, _, rest = " ".join(line.lstrip("# ") for line in comment).partition(" Source: ")
    source, _, expected = rest.partition(" Expected: ")
    return {"title": title, "source": source, "expected": expected}


def flatten(cfg: CfgNode, prefix: str = "") -> dict:
    """``{"SOLVER.BASE_LR": 0.02, ...}``."""
    flat = {}
    for key, value in cfg.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else {f"{prefix}{key}": value}
    return flat


def norm_for(name: str, *, world_size: int, device: str) -> str:
    """The norm that computes what ``name`` means with so many processes on such a device.

    One process has nothing to synchronise, so SyncBN is plain BN there; torch's SyncBN is for GPUs only, on CPU
    Detectron2's own version stands in.
    """
    if name != "SyncBN":
        return name
    if world_size == 1:
        return "BN"
    return "SyncBN" if device == "cuda" else "naiveSyncBN"


def _check_key(cfg: CfgNode, key: str) -> None:
    known = flatten(cfg)
    if key not in known:
        group = key.rpartition(".")[0]
        near = [name for name in known if group and name.rpartition(".")[0] == group]
        near = near or sorted({name.partition(".")[0] for name in known})
        raise UserError(f"unknown setting {key!r}; known{f' in {group}' if group else ''}: {', '.join(near)}")
