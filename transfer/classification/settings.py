"""Settings of classifiers that are trained on labelled images, on a frozen backbone or with it; without torch."""

import re
from dataclasses import dataclass, field

from pretrain import backbones
from pretrain.data.view_recipes import INTERPOLATIONS
from runtime.cores import AUTO_WORKERS
from runtime.settings import (
    ABOVE_0,
    AT_LEAST_1,
    BELOW_1,
    NOT_NEGATIVE,
    SHARE,
    SHARE_ABOVE_0,
    WORKERS,
    choice,
    limit,
)
from transfer.backbones import USUAL, feature_kinds

CROPS = ("cv2", "torchvision")
"""What can make the crops of labelled images."""

CROPS_HELP = "what makes the crops: cv2 (default, quick) or torchvision (on PIL images; the same but for rounding)"

INCIDENTAL = ("workers", "device")
"""Settings that may differ when a run resumes: they do not touch its result."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What every classifier's training has."""

    epochs: int = field(default=100, metadata=AT_LEAST_1)
    """Passes over the training images."""

    batch_size: int = field(default=256, metadata=limit("at least 2", 2))
    """Images per step over all processes."""

    lr: float = field(default=0.1, metadata=ABOVE_0)
    """Learning rate of the classifier."""

    scale_lr: bool = False
    """Multiply both rates by batch_size / 256."""

    head_std: float = field(default=0.01, metadata=ABOVE_0)
    """Standard deviation of the classifier's first weights."""

    batch_norm: bool = False
    """Batch norm without affine part between the features and the classifier."""

    size: int = field(default=224, metadata=AT_LEAST_1)
    """Side of the crops, pixels."""

    resize: int = field(default=256, metadata=AT_LEAST_1)
    """Short side of a validation image before its central crop, pixels."""

    min_scale: float = field(default=0.08, metadata=SHARE_ABOVE_0)
    """Smallest training crop, share of the image's area."""

    interpolation: str = field(default="bilinear", metadata=choice(*INTERPOLATIONS))
    """Of the crops, to train on and to test on: bilinear or bicubic."""

    crops: str = field(default="cv2", metadata=choice(*CROPS))
    """What makes the crops: cv2 (torch's resize of bytes) takes half the time, torchvision (on PIL images) is what
    sources use; central crops are the same but for rounding, random ones are drawn in another way."""

    precision: str = field(default="fp32", metadata=choice("fp32", "bf16", "auto"))
    """fp32, bf16 (autocast of the backbone; the classifier stays in float32), or auto: bf16 where the processor is
    fast in it."""

    evaluate_every: int = field(default=1, metadata=AT_LEAST_1)
    """Epochs between two looks at the validation images; the last epoch is always looked at."""

    network: str = backbones.USUAL
    """That of --weights random, by its name; a file names its own."""

    workers: int = field(default=AUTO_WORKERS, metadata=WORKERS)
    """Loader processes per rank; 0 loads in the training process, -1 takes the job's cores."""

    device: str = "auto"
    """auto, cpu or cuda."""

    @property
    def frozen(self) -> bool:
        """Whether the backbone stays as it is."""
        return False

    def faults(self) -> list[str]:
        """A line for each pair of settings that do not go together."""
        if self.resize < self.size:
            return [f"resize={self.resize} must not be below size={self.size}: the crop lies inside"]
        return []

    def faults_of_untrained(self) -> list[str]:
        """A line for each setting that ``network`` does not take, where the weights are random."""
        return []


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """Of linear and semi-supervised classification; the defaults are what most sources share."""

    optimizer: str = field(default="sgd", metadata=choice("sgd", "nesterov", "lars"))
    """sgd, nesterov, or lars (LARC without clipping: every tensor's step is trust times its norm)."""

    lr_backbone: float = field(default=0.0, metadata=NOT_NEGATIVE)
    """Learning rate of the backbone; 0 keeps it frozen, in eval mode, with its own batch statistics."""

    momentum: float = field(default=0.9, metadata=BELOW_1)
    """Of SGD and LARS."""

    weight_decay: float = field(default=0.0, metadata=NOT_NEGATIVE)
    """On every trained parameter."""

    trust: float = field(default=0.001, metadata=ABOVE_0)
    """LARS's trust coefficient."""

    exclude_1d: bool = False
    """Biases and norms take the plain step: no weight decay, no adaptation by LARS."""

    schedule: str = field(default="cosine", metadata=choice("cosine", "steps", "constant"))
    """Of the rates, epoch by epoch: cosine to 0, steps (times decay at each milestone) or constant."""

    warmup_epochs: int = field(default=0, metadata=NOT_NEGATIVE)
    """Epochs over which the rates rise from 0 before the cosine; above 0, both go step by step."""

    milestones: list[int] = field(default_factory=list, metadata=NOT_NEGATIVE)
    """Epochs at which the rates drop, for schedule=steps."""

    decay: float = field(default=0.1, metadata=NOT_NEGATIVE)
    """Factor of a drop."""

    features: str = field(default=USUAL, metadata=choice(*feature_kinds()))
    """What the classifier sees of an image: usual is pooled of ResNets and timm's networks, class-token of ViTs, which
    also have patches (their mean), class-token+patches and last-4-class-tokens."""

    @property
    def frozen(self) -> bool:
        return self.lr_backbone == 0

    def faults(self) -> list[str]:
        faults = super().faults()
        if self.warmup_epochs and self.schedule != "cosine":
            faults.append(f"warmup_epochs={self.warmup_epochs} goes with schedule=cosine, got {self.schedule}")
        faults += fault_of_warmup(self.warmup_epochs, self.epochs)
        if self.optimizer == "nesterov" and not self.momentum:
            faults.append("optimizer=nesterov needs a momentum above 0; with momentum=0 give optimizer=sgd")
        return faults


@dataclass(frozen=True, kw_only=True)
class FineTuneSettings(TrainingSettings):
    """Of fine-tuning on all labels; the defaults are what MAE's recipes share (facebookresearch/mae main_finetune.py).

    AdamW with betas 0.9 and 0.999; biases, norms and what the network says (class token, positions) do not decay.
    """

    lr: float = field(default=0.001, metadata=ABOVE_0)
    """Learning rate of the classifier, and of the backbone's last layer."""

    min_lr: float = field(default=1e-6, metadata=NOT_NEGATIVE)
    """Where the cosine ends, step by step."""

    warmup_epochs: int = field(default=5, metadata=NOT_NEGATIVE)
    """Epochs over which the rates rise from 0 before the cosine, step by step."""

    layer_decay: float = field(default=0.75, metadata=SHARE_ABOVE_0)
    """Rate of a layer as a share of the next one's; 1: all alike. Layers are a ViT's or ResNet's blocks, or timm's."""

    weight_decay: float = field(default=0.05, metadata=NOT_NEGATIVE)
    """AdamW's."""

    pooling: str = field(default="usual", metadata=choice("usual", "class-token", "mean"))
    """What the classifier sees: usual (of a ViT the class token, of others the pooled outputs); of ViTs by name
    class-token, or mean (of the patch tokens, behind it a new norm instead of the last one: MAE's global pool)."""

    drop_path: float = field(default=0.1, metadata=BELOW_1)
    """Stochastic depth of the last block, rising from 0; ViTs and timm's networks."""

    label_smoothing: float = field(default=0.1, metadata=BELOW_1)
    """Share of a label that is spread over all classes."""

    mixup: float = field(default=0.8, metadata=NOT_NEGATIVE)
    """Alpha of mixup (arXiv 1710.09412); 0: none."""

    cutmix: float = field(default=1.0, metadata=NOT_NEGATIVE)
    """Alpha of cutmix (arXiv 1905.04899); 0: none."""

    mix_probability: float = field(default=1.0, metadata=SHARE)
    """Share of the batches that are mixed."""

    cutmix_share: float = field(default=0.5, metadata=SHARE)
    """Share of the mixed batches that cutmix mixes, where both do."""

    random_erasing: float = field(default=0.25, metadata=SHARE)
    """Share of the images of which a rectangle becomes noise (arXiv 1708.04896)."""

    augment: str = "rand-m9-mstd0.5-inc1"
    """RandAugment (arXiv 1909.13719) in timm's words; empty: none."""

    ema: float = field(default=0.0, metadata=BELOW_1)
    """Decay of a moving average of the weights, which is then what is evaluated and kept; 0: none."""

    clip: float = field(default=0.0, metadata=NOT_NEGATIVE)
    """Largest norm of the gradient; 0: any."""

    accumulate: int = field(default=1, metadata=AT_LEAST_1)
    """Parts in which a process goes through its share of a batch, to save memory; batch norms see a part."""

    interpolation: str = field(default="bicubic", metadata=choice(*INTERPOLATIONS))
    """Of the crops, to train on and to test on: bilinear or bicubic."""

    crops: str = field(default="cv2", metadata=choice(*CROPS))
    """What makes the central crops, to test on: cv2 or torchvision; those to train on are timm's own."""

    head_std: float = field(default=2e-5, metadata=ABOVE_0)
    """Standard deviation of the classifier's first weights."""

    def faults(self) -> list[str]:
        faults = super().faults() + fault_of_warmup(self.warmup_epochs, self.epochs)
        if self.augment and not re.fullmatch(r"rand(-(m|n|inc|mmax)\d+|-(p|mstd)\d+(\.\d+)?)*", self.augment):
            faults.append(f"augment={self.augment} is no RandAugment; give one like rand-m9-mstd0.5-inc1, or nothing")
        if self.batch_size % self.accumulate:
            faults.append(f"batch_size={self.batch_size} is no multiple of accumulate={self.accumulate}")
        return faults

    def faults_of_untrained(self) -> list[str]:
        faults = []
        vit = "class-token" in backbones.family_of(self.network).FEATURES
        if self.pooling != "usual" and not vit:
            faults.append(f"pooling={self.pooling} is for ViTs, and network={self.network} is none; give pooling=usual")
        if self.drop_path and backbones.family_of(self.network) is backbones.families()["resnet"]:
            faults.append(f"network={self.network} has no drop_path; give drop_path=0")
        return faults


def faults_of_crop(size: int, resize: int) -> list[str]:
    """A line where ``--size`` and ``--resize`` leave the central crop no room."""
    return [f"--resize {resize} must not be below --size {size}: the crop lies inside"] if resize < size else []


def fault_of_warmup(warmup_epochs: int, epochs: int) -> list[str]:
    """A line where nothing is left of the training behind the warm-up."""
    return [f"warmup_epochs={warmup_epochs} must be below epochs={epochs}"] if warmup_epochs >= epochs else []
