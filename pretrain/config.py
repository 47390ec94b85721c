"""Settings of a pretraining run: defaults < the method's recipe < a recipe file < KEY=VALUE. No torch here."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretrain import backbones, methods
from pretrain.data import view_recipes
from pretrain.networks import masked_settings
from runtime.command_line import Faults, UserError, one_of
from runtime.cores import AUTO_WORKERS
from runtime.provenance import ROOT, as_submitted
from runtime.read import read_yaml
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
    parse_pairs,
    updated,
)

RECIPES = ROOT / "pretrain" / "recipes"
BACKENDS = ("auto", "torchvision", "pil", "cv2", "torch")
DATASET_FORMATS = ("folder", "cifar100", "cifar10")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    root: str = ""
    """Folder of the training images (required): ImageNet's layout, any tree of images, or what pretrain/pack.py made of
    one; for CIFAR, the folder that holds cifar-10-batches-py or cifar-100-python."""

    stage: str = ""
    """Folder on each node's own disk, like $TMPDIR, to which packed images are copied first, once a node; empty: they
    are read where they are."""

    format: str = field(default="folder", metadata=choice(*DATASET_FORMATS))
    """folder, cifar100 or cifar10 (the published archives, unpacked; nothing is downloaded)."""

    workers: int = field(default=AUTO_WORKERS, metadata=WORKERS)
    """Loader processes per rank; 0 loads in the training process. -1: the cores of the job's task but one (at most 16);
    a quarter of them where the CPU trains."""

    max_unreadable: float = field(default=0.01, metadata=SHARE)
    """Share of images that may be unreadable before the run stops; each is named, skipped and counted."""


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    recipe: str = field(default="asymmetric", metadata=choice(*view_recipes.RECIPES))
    """Named recipe of random views (pretrain/data/views.py): asymmetric, symmetric, simclr, supervised, masked,
    cifar, cifar-asymmetric, cifar-solarize or scenes."""

    backend: str = field(default="auto", metadata=choice(*BACKENDS))
    """What makes the views. auto: torch on a GPU, cv2 elsewhere; a run goes on with the one it began with. pil, cv2 or
    torch: by Pillow, by OpenCV (4 times as fast) or on the training device (workers only decode and crop), all three
    from the same random numbers. torchvision: its transforms on Pillow images, as published results were made."""

    size: int = field(default=224, metadata=AT_LEAST_1)
    """Side of a view, pixels."""

    min_scale: float = field(default=0.2, metadata=SHARE_ABOVE_0)
    """Smallest crop, share of the image's area."""

    small: int = field(default=0, metadata=NOT_NEGATIVE)
    """Small views besides, drawn like the recipe's first one (SwAV's multi-crop: 6)."""

    small_size: int = field(default=96, metadata=AT_LEAST_1)
    """Side of a small view, pixels."""

    small_min_scale: float = field(default=0.05, metadata=SHARE_ABOVE_0)
    """Smallest crop of a small view, share of the image's area."""

    small_max_scale: float = field(default=0.14, metadata=SHARE_ABOVE_0)
    """Largest crop of a small view, share of the image's area."""

    interpolation: str = field(default="bilinear", metadata=choice(*view_recipes.INTERPOLATIONS))
    """bilinear or bicubic."""

    normalisation: str = field(default="imagenet", metadata=choice(*view_recipes.NORMALISATIONS))
    """imagenet, swav (a standard deviation of 0.228 for red), cifar10, cifar10-moco, cifar100 or none (values in
    [0, 1]); it goes along with the backbone, to Detectron2."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    name: str = field(default="sgd", metadata=choice("sgd", "lars", "larc", "adamw"))
    """sgd, lars (You et al., arXiv 1708.03888, as timm has it), larc (lars with the rate of each layer clipped at the
    global rate, as solo-learn has it for CIFAR) or adamw."""

    lr: float = field(default=0.5, metadata=NOT_NEGATIVE)
    """Base learning rate; scale_lr says how the peak rate follows from it."""

    scale_lr: str = field(default="linear", metadata=choice("linear", "sqrt", "none"))
    """linear: lr x batch_size / 256 (Goyal et al., arXiv 1706.02677); sqrt: lr x sqrt(batch_size) (SimCLR, appendix
    B.1); none: lr as it is."""

    momentum: float = field(default=0.9, metadata=BELOW_1)
    """SGD's and LARS's momentum; AdamW's first beta."""

    beta2: float = field(default=0.999, metadata=BELOW_1)
    """AdamW's second beta (MAE: 0.95)."""

    weight_decay: float = field(default=1e-5, metadata=NOT_NEGATIVE)
    """On every parameter, biases and norms included, unless exclude_1d says otherwise."""

    exclude_1d: bool = False
    """Biases and norms take no weight decay and no LARS adaptation (SimCLR, BYOL, Barlow Twins, VICReg)."""

    bias_lr: float = field(default=1.0, metadata=NOT_NEGATIVE)
    """Rate of biases and norms, as a multiple of the others' (Barlow Twins: 0.0048 / 0.2)."""

    trust: float = field(default=0.001, metadata=ABOVE_0)
    """LARS's trust coefficient: the length of a layer's step as a share of its weights' norm, at rate 1."""

    warmup_epochs: float = field(default=10.0, metadata=NOT_NEGATIVE)
    """Epochs over which the rate rises linearly to the peak; a cosine follows, step by step."""

    warmup_start: float = field(default=0.0, metadata=NOT_NEGATIVE)
    """Rate at the beginning of the warm-up, not scaled with the batch."""

    final_lr: float = field(default=0.0, metadata=NOT_NEGATIVE)
    """Rate at the end of the cosine, as a share of the peak."""


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    name: str = "resnet50"
    """resnet18 to resnet152, wide_resnet50_2, ...; vit_SIZE_patchN with SIZE mini, tiny, small, base, large, huge and N
    8, 14, 16; timm:NAME for any other network of timm."""

    stem: str = field(default="imagenet", metadata=choice("imagenet", "cifar"))
    """imagenet (7x7, stride 2, max-pool) or cifar (3x3, stride 1; cannot be transferred to Detectron2)."""

    zero_init_residual: bool = True
    """Start every residual branch of a ResNet at zero."""

    positions: str = field(default="learnt", metadata=choice("learnt", "sincos"))
    """Of a ViT's patches: learnt, or fixed sines and cosines (MoCo v3, MAE)."""

    registers: int = field(default=0, metadata=NOT_NEGATIVE)
    """Register tokens of a ViT besides the class token (arXiv 2309.16588)."""

    layer_scale: float = field(default=0.0, metadata=NOT_NEGATIVE)
    """First value of a ViT's layer scale (arXiv 2103.17239); 0 has none."""

    drop_path: float = field(default=0.0, metadata=BELOW_1)
    """Largest rate at which a block is left out for an image (stochastic depth); ViTs and timm's networks."""

    fixed_patch_projection: bool = False
    """Leave a ViT's patch projection as it was drawn (MoCo v3, arXiv 2104.02057, section 3.2: training is stabler)."""

    def changed(self, *names: str) -> list[str]:
        """Which of the settings ``names`` are not at their defaults."""
        usual = BackboneConfig()
        return [name for name in names if getattr(self, name) != getattr(usual, name)]


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    every: int = field(default=50, metadata=AT_LEAST_1)
    """Steps between two lines in log.jsonl and TensorBoard."""

    checkpoint_every: int = field(default=1000, metadata=AT_LEAST_1)
    """Steps between two writes of checkpoint.pth (one is written at SIGTERM, SIGUSR2 and Ctrl-C as well)."""

    keep_last: int = field(default=2, metadata=AT_LEAST_1)
    """How many of the newest checkpoints stay; should the newest be damaged, the run goes on from the one before."""

    keep_every: int = field(default=0, metadata=NOT_NEGATIVE)
    """Checkpoints of every so many steps stay for good, as checkpoints/step-000100.pth; 0 keeps none."""

    probe_every: int = field(default=0, metadata=NOT_NEGATIVE)
    """Steps between two measurements of the backbone's effective ranks on fixed images, a multiple of log.every; 0
    measures none. At the default 256 images they cost what 90 views of a step cost: under 1% from 50 steps on, even at
    batch size 64."""

    probe_root: str = ""
    """Folder of these images, sorted into classes for the ranks within and between them; empty: training images."""

    probe_images: int = field(default=256, metadata=NOT_NEGATIVE)
    """How many: 32 of each of the first classes, or any where there are no classes."""

    collapse_rank: float = field(default=1.2, metadata=NOT_NEGATIVE)
    """The run stops when the effective rank of the embeddings stays below this (1 is total collapse); 0 never stops."""

    collapse_patience: int = field(default=3, metadata=AT_LEAST_1)
    """Logged steps in a row below collapse_rank, after the warm-up, that count as a collapse."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    epochs: int = field(default=100, metadata=NOT_NEGATIVE)
    """Passes over the training images; 0 writes the network that training of this seed starts from, untrained, with
    the batch statistics of its images."""

    batch_size: int = field(default=1024, metadata=limit("at least 2", 2))
    """Images per step over all processes."""

    seed: int = field(default=0, metadata=NOT_NEGATIVE)
    """Fixes initial weights, image order and augmentations."""

    variant: str = ""
    """How this run differs from its recipe, in a word ("gamma=0.3"): a row of its own in the tables."""

    device: str = field(default="auto", metadata=choice("auto", "cpu", "cuda"))
    """auto, cpu or cuda."""

    precision: str = field(default="auto", metadata=choice("auto", "bf16", "fp32"))
    """bf16 (autocast; losses and batch statistics stay in float32), fp32, or auto: bf16 where the processor is fast in
    it. The run's record says which; a run that goes on keeps it."""

    compile: bool = False
    """Compile the network into one graph (torch.compile): fewer, larger kernels after a wait of minutes at the start;
    other last digits. One process only."""

    data: DataConfig = field(default_factory=DataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    log: LogConfig = field(default_factory=LogConfig)
    method: Any = None


def defaults(method: str) -> TrainConfig:
    """The settings of a method before its recipe. Raises UserError for a method that is not known."""
    return TrainConfig(method=methods.settings_of(method).Config())


def resolve(method: str, recipe: str, pairs: Iterable[str]) -> TrainConfig:
    """The settings of a run. ``recipe`` is a name in pretrain/recipes or a yaml file; ``pairs`` are KEY=VALUE.

    Raises UserError naming every unknown key (with the known ones), every value of the wrong type, every number outside
    its limits; what does not go together is for `check`.
    """
    config = defaults(method)
    faults = Faults()
    layers: list[tuple[str, Any]] = [(f"pretrain/methods/settings/{method}.py", methods.settings_of(method).RECIPE)]
    with faults.collected():
        layers.extend(read_recipe(recipe, method))
    with faults.collected():
        layers.append(("the command line", parse_pairs(pairs)))
    for source, values in layers:
        with faults.collected():
            config = updated(config, values, source)
    faults.check()
    return config


def read_recipe(recipe: str, method: str) -> list[tuple[str, Any]]:
    """The layers of a recipe file: what it says for every method, then what it says ``for`` this one.

    Raises UserError for a name that is not known, a file that is not yaml, and methods in it that are not known.
    """
    path = RECIPES / f"{recipe}.yaml"
    if not path.is_file():
        path = Path(recipe)
    if not (path.suffix in (".yaml", ".yml") and as_submitted(path).is_file()):
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise UserError(f"unknown recipe {recipe!r}; known: {known}, or the path of a yaml file")
    values = read_yaml(as_submitted(path))
    if not isinstance(values, dict | None):
        raise UserError(f"{path} holds a {type(values).__name__}, not settings like 'epochs: 100'")
    common = dict(values or {})
    by_method = common.pop("for", None) or {}
    if not isinstance(by_method, dict):
        raise UserError(f"{path}: 'for' holds a {type(by_method).__name__}, not a group of settings for each method")
    for name in by_method:
        one_of(f"method under 'for' in {path}:", str(name), methods.available())
    return [(str(path), common), (f"{path} (for {method})", by_method.get(method) or {})]


def check(method: str, config: TrainConfig) -> None:
    """Raise UserError naming all settings that do not go together."""
    faults = Faults()
    views, log = config.views, config.log
    fewest, most = methods.takes_views(method)
    count = len(view_recipes.RECIPES[views.recipe]) + views.small
    if count < fewest or (most is not None and count > most):
        faults.append(
            f"{method} takes {fewest}{' or more' if most is None else ''} views of an image, but views.recipe="
            f"{views.recipe} with views.small={views.small} makes {count}; change one of them"
        )
    if views.small_min_scale > views.small_max_scale:
        faults.append(
            f"views.small_min_scale={views.small_min_scale} must be at most views.small_max_scale="
            f"{views.small_max_scale}; change one of them"
        )
    if config.data.stage and config.data.format != "folder":
        faults.append(f"data.stage copies packed images, data.format={config.data.format} has none; leave one out")
    if log.probe_every % log.every:
        faults.append(f"log.probe_every={log.probe_every} must be a multiple of log.every={log.every}")
    with faults.collected():
        backbones.check(config.backbone, [views.size, *[views.small_size] * bool(views.small)])
    if methods.masks_patches(method):
        with faults.collected():
            masked_settings.check_network(method, config)
    with faults.collected():
        methods.check_settings(method, config.method, config.batch_size)
    faults.check()
