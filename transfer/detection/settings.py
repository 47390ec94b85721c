"""The settings of a fine-tuning run: Detectron2's, and the suite's own under TRANSFER.

Names, types and defaults are known here without Detectron2 or torch, so that a wrong setting is found before a job is
submitted. The run itself also puts them into Detectron2's own config (transfer.detection.run_config).
"""

import ast
import functools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.command_line import Faults, UserError, listed, shortened
from runtime.read import read_yaml
from runtime.settings import (
    AT_LEAST_1,
    BELOW_1,
    BOOLEANS,
    NOT_NEGATIVE,
    SHARE_ABOVE_0,
    choice,
    flat,
    limit,
    updated,
)
from transfer.metrics.coco import ENGINES

DEFAULTS = Path(__file__).with_name("detectron2_defaults.yaml")
"""Detectron2's settings; a test holds this file equal to the installed library's."""

SAMPLERS = ("TrainingSampler", "RepeatFactorTrainingSampler")
"""Detectron2's names for an order that shows every image once an epoch, and one that repeats rare categories."""

KINDS = {bool: "True or False", int: "a whole number", float: "a finite number", str: "a text"}
"""Type of a setting -> what its values are, for messages."""

LONGEST_LIST = 10_000
"""Most characters of a list on the command line."""


OPTIMIZERS = ("SGD", "AdamW")
"""Of SOLVER's settings SGD reads MOMENTUM and NESTEROV; AdamW's betas are torch's 0.9 and 0.999."""


@dataclass(frozen=True, kw_only=True)
class ViTSettings:
    """A plain vision transformer under a simple feature pyramid (ViTDet, arXiv 2203.16527); stands under TRANSFER.VIT.

    Weights decide all that is visible in them, and the number of heads.
    """

    WIDTH: int = field(default=768, metadata=AT_LEAST_1)
    """Width of the tokens."""

    DEPTH: int = field(default=12, metadata=AT_LEAST_1)
    """Number of blocks."""

    HEADS: int = field(default=12, metadata=AT_LEAST_1)
    """Attention heads of a block."""

    PATCH: int = field(default=16, metadata=AT_LEAST_1)
    """Side of a patch, pixels."""

    GRID: int = field(default=14, metadata=NOT_NEGATIVE)
    """Side of the grid of patches that the weights' position embedding is for; 0: no absolute positions."""

    CLASS_TOKEN: bool = True
    """Whether the position embedding begins with the class token's, which a detector leaves out."""

    DROP_PATH: float = field(default=0.0, metadata=BELOW_1)
    """Share of dropped residual branches in the last block; from 0 in the first it grows linearly."""

    WINDOW: int = field(default=14, metadata=NOT_NEGATIVE)
    """Side of the windows of attention, patches; 0: attention over the whole image in all blocks."""

    GLOBAL_BLOCKS: int = field(default=4, metadata=AT_LEAST_1)
    """Blocks with attention over the whole image, evenly spaced: the last of each share of the blocks."""

    RELATIVE_POSITIONS: bool = True
    """Decomposed relative positions in every block, zero at first; they are in no pretrained file."""


@dataclass(frozen=True, kw_only=True)
class TimmSettings:
    """A network of timm under an FPN; stands under TRANSFER.TIMM."""

    NAME: str = ""
    """timm's name of the network, such as convnext_tiny; the weights' own where they say it."""

    DROP_PATH: float = field(default=0.0, metadata=BELOW_1)
    """Stochastic depth, for networks that have it."""

    MAP_NORM: bool = False
    """A layer norm over each feature map, new in the detector; it is frozen where the network is."""


@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """What stands under TRANSFER."""

    VERSION: int = field(default=0, metadata=NOT_NEGATIVE)
    """Version of the protocol, from its yaml."""

    TRIALS: int = field(default=1, metadata=AT_LEAST_1)
    """Runs over which the protocol's literature averages, a seed each."""

    FREEZE_BACKBONE_WEIGHTS: bool = False
    """Train the detector on a fixed backbone: no weight of the pretrained network under `backbone` moves, neither
    convolutions nor the affine part of its norms, and its forward pass keeps no gradients. Batch norms still use the
    statistics of the batch. (FREEZE_AT instead fixes the statistics, which a random backbone does not have.) In a C4
    detector res5 belongs to the head and is trained; so is every pyramid."""

    BACKBONE: str = ""
    """The network of a row from scratch in place of the protocol's, which decides MODEL.RESNETS, TRANSFER.VIT or
    TRANSFER.TIMM: resnet18, wide_resnet50_2, vit_small_patch16, timm:convnext_tiny; weights say it themselves."""

    VIT: ViTSettings = ViTSettings()
    """Of a ViT."""

    TIMM: TimmSettings = TimmSettings()
    """Of a network of timm."""

    SQUARE: int = field(default=0, metadata=NOT_NEGATIVE)
    """Side of the square, pixels, that images are padded to in training and in evaluation, for a ViT or a network of
    timm; 0: to the largest of the batch."""

    SCALE_JITTER: list[float] = field(default_factory=list, metadata=limit("above 0", 1e-3, 10))
    """Large-scale jitter [least, most] in place of INPUT.MIN_SIZE_TRAIN: the image is scaled to fit a square whose side
    is SQUARE times a uniform number between the two, then cropped to SQUARE (arXiv 2012.07177)."""

    DETR_CROP: bool = False
    """Half of the images are scaled to a short edge of 400, 500 or 600 pixels and cropped to a random 384 to 600 pixels
    a side before they are scaled to INPUT.MIN_SIZE_TRAIN (arXiv 2005.12872, A.4)."""

    OPTIMIZER: str = field(default="SGD", metadata=choice(*OPTIMIZERS))
    """SGD with momentum, or AdamW."""

    LAYER_DECAY: float = field(default=1.0, metadata=SHARE_ABOVE_0)
    """Of a ViT: each block learns at this share of the rate of the block after it, the patches slowest, the pyramid and
    the heads at SOLVER.BASE_LR. Of a ConvNeXt the layers are the stem, the stages, and every three blocks of the third
    stage."""

    UNDECAYED: list[str] = field(default_factory=list)
    """Last part of the names of parameters without weight decay, besides the norms' (SOLVER.WEIGHT_DECAY_NORM)."""

    FLOAT16_GRADIENTS: bool = False
    """Gradients travel between GPUs in float16."""

    AUTO_PRECISION: bool = False
    """Mixed precision where the processor is fast in it, float32 elsewhere: decides SOLVER.AMP.ENABLED, unless the
    command line does."""

    CHANNELS_LAST: bool = False
    """Memory format of the convolutions; on CPU it is faster, the numbers stay the same."""

    CHECKPOINT_ACTIVATIONS: bool = False
    """Recompute the activations of each stage in the backward pass instead of keeping them: less memory for one more
    forward pass, the same gradients."""

    EVALUATION_ENGINE: str = field(default="hotcoco", metadata=choice(*ENGINES))
    """hotcoco or pycocotools: the same figures, the first in a fraction of the time."""

    EVALUATION_BATCH: int = field(default=1, metadata=AT_LEAST_1)
    """Images per forward pass in evaluation, per process."""

    PICTURES: int = field(default=6, metadata=NOT_NEGATIVE)
    """Validation images in predictions.png."""

    CHECKPOINTS_KEPT: int = field(default=2, metadata=AT_LEAST_1)
    """Checkpoints kept while training; the last one is always among them."""

    TENSORBOARD: bool = True
    """Also write events for TensorBoard (metrics.json is always written)."""


OWNED = {
    "SEED": "--seed",
    "OUTPUT_DIR": "--out",
    "MODEL.WEIGHTS": "--weights",
    "DATASETS.TRAIN": "--benchmark",
    "DATASETS.TEST": "--benchmark",
    "MODEL.ROI_HEADS.NUM_CLASSES": "--benchmark",
}
"""Settings that an option decides."""

LIMITS = {
    "SOLVER.IMS_PER_BATCH": AT_LEAST_1,
    "SOLVER.MAX_ITER": AT_LEAST_1,
    "SOLVER.CHECKPOINT_PERIOD": AT_LEAST_1,
    "SOLVER.WARMUP_ITERS": NOT_NEGATIVE,
    "TEST.PRECISE_BN.NUM_ITER": AT_LEAST_1,
    "DATALOADER.NUM_WORKERS": NOT_NEGATIVE,
}
"""Detectron2's numbers that have a limit which Detectron2 does not check: beyond it a run ends in a traceback, or in no
end at all."""

INCIDENTAL = {
    "OUTPUT_DIR",
    "MODEL.WEIGHTS",
    "MODEL.DEVICE",
    "DATALOADER.NUM_WORKERS",
    "TRANSFER.AUTO_PRECISION",
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


@functools.cache
def defaults() -> dict[str, Any]:
    """Every setting with its default, ``{"SOLVER.BASE_LR": 0.001, ...}``; do not change it."""
    return flat(read_yaml(DEFAULTS)) | flat({"TRANSFER": TransferSettings()})


def parse(arguments: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` or ``KEY VALUE`` words of a command line -> key: value, each of its setting's type.

    Raises UserError naming every unknown key (near ones are listed), every value of another type, and every key that
    an option decides.
    """
    values: dict[str, Any] = {}
    faults, rest = Faults(), list(arguments)
    while rest:
        word = rest.pop(0)
        key, equals, text = word.partition("=")
        if not equals:
            if not rest:
                faults.append(f"settings are given as KEY=VALUE; {word!r} has no value")
                break
            text = rest.pop(0)
        with faults.collected():
            values[key] = _typed(key, text)
    faults.extend(f"{key} is decided by {OWNED[key]}; use that option" for key in values if key in OWNED)
    with faults.collected():
        check(values, "the command line")
    faults.check()
    return values


def check(values: Mapping[str, Any], source: object) -> None:
    """Raise UserError for each of ``values`` (dotted key -> value) that is unknown or of another type or range."""
    faults, own = Faults(), {}
    for key, value in values.items():
        with faults.collected(str(source)):
            _check_known(key)
            if key.startswith("TRANSFER."):
                group, _, name = key.removeprefix("TRANSFER.").rpartition(".")
                (own.setdefault(group, {}) if group else own)[name] = value
            elif not _fits(value, defaults()[key]):
                raise UserError(f"{key} must be {_kind(defaults()[key])}, got {shortened(repr(value), 80)}")
            elif key in LIMITS and values[key] < LIMITS[key]["limit"].least:
                raise UserError(f"{key} must be {LIMITS[key]['limit'].text}, got {value}")
            elif key == "DATALOADER.SAMPLER_TRAIN" and value not in SAMPLERS:
                raise UserError(f"{key} must be one of {', '.join(SAMPLERS)}, got {value!r}")
    with faults.collected():
        updated(TransferSettings(), own, f"{source}: TRANSFER")
    faults.check()


def _check_known(key: str) -> None:
    known = list(defaults())
    if key not in known:
        group = key.rpartition(".")[0]
        near = [name for name in known if group and name.rpartition(".")[0] == group]
        near = near or sorted({name.partition(".")[0] for name in known})
        where = f" in {shortened(group, 60)}" if group else ""
        raise UserError(f"unknown setting {shortened(key, 60)!r}; known{where}: {listed(key, near)}")


def _typed(key: str, text: str) -> Any:
    """The value that ``text`` is for setting ``key``: a text as it is, other types as Python writes them."""
    _check_known(key)
    default = defaults()[key]
    try:
        if isinstance(default, str):
            return text
        if isinstance(default, bool):
            return BOOLEANS[text.lower()]
        if isinstance(default, list):
            value = ast.literal_eval(text) if len(text) <= LONGEST_LIST else None
            return list(value) if isinstance(value, list | tuple) else value
        if default is None and text.lower() == "none":
            return None
        if not re.fullmatch(r"[0-9eE+.-]{1,40}", text):
            raise ValueError
        return int(text) if isinstance(default, int) else float(text)
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise UserError(f"{key} must be {_kind(default)}, got {shortened(repr(text), 80)}") from error


def _fits(value: Any, default: Any) -> bool:
    """Whether ``value`` is of the type of ``default``; in lists every entry is, except in those empty by default."""
    if default is None:  # Detectron2's word for "as another setting"
        return value is None or _fits(value, 0.0)
    if isinstance(default, list):
        entry = next(_leaves(default), None)
        return isinstance(value, list | tuple) and all(entry is None or _fits(leaf, entry) for leaf in _leaves(value))
    if isinstance(default, float) and type(value) in (int, float):
        return abs(value) <= sys.float_info.max
    return type(value) is type(default)


def _leaves(value: Any) -> Iterator[Any]:
    for entry in value:
        if isinstance(entry, list | tuple):
            yield from _leaves(entry)
        else:
            yield entry


def _kind(default: Any) -> str:
    if isinstance(default, list):
        return f"a list like {default or '[1, 2]'}"
    return KINDS[float] if default is None else KINDS[type(default)]
