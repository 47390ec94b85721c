"""Settings of a pretraining run: frozen dataclasses; defaults < the method's recipe < a recipe file < KEY=VALUE."""

import ast
import dataclasses
import inspect
import textwrap
import typing
from dataclasses import dataclass, field

from pretrain import methods
from pretrain.data.datasets import DataConfig
from pretrain.data.views import ViewsConfig
from pretrain.optimisation.optimizers import OptimConfig
from runtime.settings import parse_pairs, read_recipe, updated


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    stem: str = "imagenet"
    """imagenet (7x7, stride 2, max-pool) or cifar (3x3, stride 1; cannot be transferred to Detectron2)."""

    zero_init_residual: bool = True
    """Start every residual branch at zero."""


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    every: int = 50
    """Steps between two lines in log.jsonl and TensorBoard."""

    checkpoint_every: int = 1000
    """Steps between two writes of checkpoint.pth (one is written at SIGTERM, SIGUSR2 and Ctrl-C as well)."""

    keep_last: int = 2
    """How many of the newest checkpoints stay; should the newest be damaged, the run goes on from the one before."""

    keep_every: int = 0
    """Checkpoints of every so many steps stay for good, as checkpoints/step-000100.pth; 0 keeps none."""

    probe_every: int = 0
    """Steps between two measurements of the backbone's effective ranks on fixed images, a multiple of log.every; 0
    measures none. At the default 256 images they cost what 90 views of a step cost: under 1% from 50 steps on, even at
    batch size 64."""

    probe_root: str = ""
    """Folder of these images, sorted into classes for the ranks within and between them; empty: training images."""

    probe_images: int = 256
    """How many: 32 of each of the first classes, or any where there are no classes."""

    collapse_rank: float = 1.2
    """The run stops when the effective rank of the embeddings stays below this (1 is total collapse); 0 never stops."""

    collapse_patience: int = 3
    """Logged steps in a row below collapse_rank, after the warm-up, that count as a collapse."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    epochs: int = 100
    """Passes over the training images."""

    batch_size: int = 1024
    """Images per step over all processes."""

    seed: int = 0
    """Fixes initial weights, image order and augmentations."""

    variant: str = ""
    """How this run differs from its recipe, in a word ("gamma=0.3"): a row of its own in the tables."""

    device: str = "auto"
    """auto, cpu or cuda."""

    precision: str = "bf16"
    """bf16 (autocast; losses and batch statistics stay in float32) or fp32."""

    data: DataConfig = field(default_factory=DataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    log: LogConfig = field(default_factory=LogConfig)
    method: typing.Any = None


def resolve(method: str, recipe: str, pairs: list[str]) -> TrainConfig:
    """The settings of a run. ``recipe`` is a name in pretrain/recipes or a yaml file; ``pairs`` are KEY=VALUE.

    Raises UserError naming every unknown key (with the known ones), every value of the wrong type and every number
    outside its limits.
    """
    module = methods.load(method)
    config = TrainConfig(method=module.Config())
    layers = [(f"pretrain/methods/{method}.py", getattr(module, "RECIPE", {}))]
    layers += read_recipe(recipe, method)
    layers.append(("the command line", parse_pairs(pairs)))
    for source, values in layers:
        config = updated(config, values, source)
    return config


def describe(config, prefix: str = "") -> str:
    """Every setting with its default and its sentence, for --help."""
    sentences = _sentences(type(config))
    lines = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            lines.append(describe(value, f"{prefix}{f.name}."))
            continue
        text = f"{sentences[f.name]} (default: {'none' if value is None else repr(value)})"
        lines.append(
            f"  {prefix}{f.name}\n" + textwrap.fill(text, 100, initial_indent="      ", subsequent_indent="      ")
        )
    return "\n".join(lines)


def _sentences(cls: type) -> dict[str, str]:
    """The string under each field of a dataclass; a field without one is a mistake of ours."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    found = {}
    for statement, after in zip(body, body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
            found[statement.target.id] = " ".join(after.value.value.split())
    return found
