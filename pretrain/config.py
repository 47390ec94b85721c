"""Settings of a pretraining run: frozen dataclasses; defaults < the method's recipe < a recipe file < KEY=VALUE."""

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from pretrain import methods
from pretrain.command_line import UserError
from pretrain.data import DataConfig
from pretrain.optimizers import OptimConfig
from pretrain.views import ViewsConfig

RECIPES = Path(__file__).parent / "recipes"


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

    Raises UserError naming every unknown key (with the known ones) and every value of the wrong type.
    """
    module = methods.load(method)
    config = TrainConfig(method=module.Config())
    layers = [(f"pretrain/methods/{method}.py", getattr(module, "RECIPE", {}))]
    layers += read_recipe(recipe, method)
    layers.append(("the command line", parse_pairs(pairs)))
    for source, values in layers:
        config = updated(config, values, source)
    return config


def read_recipe(recipe: str, method: str) -> list[tuple[str, dict]]:
    """The layers of a recipe file: what it says for every method, then what it says ``for`` this one."""
    path = RECIPES / f"{recipe}.yaml"
    if not path.is_file():
        path = Path(recipe)
    if not (path.suffix in (".yaml", ".yml") and path.is_file()):
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise UserError(f"unknown recipe {recipe!r}; known: {known}, or the path of a yaml file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not yaml: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds a {type(values).__name__}, not settings like 'epochs: 100'")
    own = (values.pop("for", None) or {}).get(method, {})
    return [(str(path), values), (f"{path} (for {method})", own)]


def parse_pairs(pairs: list[str]) -> dict:
    """``["optim.lr=0.5"]`` -> ``{"optim": {"lr": 0.5}}``."""
    nested: dict = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UserError(f"settings are given as KEY=VALUE, got {pair!r}")
        *parents, leaf = key.split(".")
        inner = nested
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise UserError(f"{key} and {parent} are both given, and one lies inside the other")
        try:
            inner[leaf] = yaml.safe_load(text)
        except yaml.YAMLError:
            inner[leaf] = text
    return nested


def updated(config, values: dict, source: str):
    """A copy of a settings dataclass with nested ``values`` put in, which ``source`` says.

    Raises UserError naming every unknown key (with the known ones) and every value of the wrong type.
    """
    faults: list[str] = []
    config = _updated(config, values, "", faults)
    if faults:
        raise UserError(f"{source}: " + "; ".join(faults))
    return config


def _updated(config, values: dict, prefix: str, faults: list[str]):
    """A copy of a settings dataclass with nested ``values`` put in; what does not fit goes to ``faults``."""
    hints = typing.get_type_hints(type(config))
    changes = {}
    for key, value in values.items():
        if key not in hints:
            faults.append(f"unknown setting {prefix + str(key)!r}; known: {', '.join(prefix + k for k in hints)}")
        elif dataclasses.is_dataclass(current := getattr(config, key)):
            if isinstance(value, dict):
                changes[key] = _updated(current, value, f"{prefix}{key}.", faults)
            else:
                faults.append(f"{prefix}{key} is a group of settings, not a value")
        else:
            try:
                changes[key] = _coerced(value, hints[key])
            except (TypeError, ValueError):
                kind = str(hints[key]) if typing.get_args(hints[key]) else hints[key].__name__
                faults.append(f"{prefix}{key} must be {kind}, got {value!r}")
    return dataclasses.replace(config, **changes)


def _coerced(value, hint):
    """``value`` as the annotated type. YAML reads 1e-5 as a string and 1 as an int; both are fine for a float."""
    if isinstance(hint, types.UnionType):
        if value is None or value == "none":
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if typing.get_origin(hint) is list and isinstance(value, list):
        return [_coerced(entry, *typing.get_args(hint)) for entry in value]
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    if type(value) is not hint:
        raise TypeError
    return value


def flat(config, prefix: str = "") -> dict[str, typing.Any]:
    """Every setting under its dotted key."""
    if isinstance(config, dict):
        items = config.items()
    else:
        items = ((f.name, getattr(config, f.name)) for f in dataclasses.fields(config))
    result = {}
    for key, value in items:
        if isinstance(value, dict) or dataclasses.is_dataclass(value):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = value
    return result


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
