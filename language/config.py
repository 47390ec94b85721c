"""Settings of the fine-tuning of a language model: defaults < a recipe < KEY=VALUE. No torch here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.command_line import one_of
from runtime.provenance import ROOT, as_submitted
from runtime.read import read_yaml
from runtime.settings import ABOVE_0, AT_LEAST_1, BELOW_1, NOT_NEGATIVE, SHARE, choice, limit, parse_pairs, updated

RECIPES = ROOT / "language" / "recipes"
BETWEEN_0_AND_1 = limit("above 0 and below 1", 1e-12, 1 - 1e-12)
EMBEDDED = "word-problems"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    path: str = "tiny"
    """Folder of a causal language model of transformers, a GGUF file, or tiny: a small Llama from random weights."""

    width: int = field(default=96, metadata=AT_LEAST_1)
    """Of tiny: hidden size."""

    layers: int = field(default=4, metadata=AT_LEAST_1)
    """Of tiny."""

    heads: int = field(default=4, metadata=AT_LEAST_1)
    """Of tiny; a divisor of the width."""

    lora_rank: int = field(default=0, metadata=NOT_NEGATIVE)
    """Train low-rank updates 2 B A of this rank (peft) in place of all weights; 0: all weights. At the end they are
    added to the weights: the folder model is a plain one."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    path: str = EMBEDDED
    """MetaMathQA's json, a jsonl of GSM8K or MATH, or word-problems: problems made by language/word_problems.py."""

    problems: int = field(default=8000, metadata=AT_LEAST_1)
    """Of word-problems: how many."""

    most: int = field(default=20, metadata=limit("from 2 to 500", 2, 500))
    """Of word-problems: the largest number in a problem."""

    prompt: str = field(default="metamath", metadata=choice("metamath", "plain"))
    """metamath (its Alpaca form) or plain: the question and a new line."""

    max_length: int = field(default=512, metadata=AT_LEAST_1)
    """Tokens of prompt and response; a longer example is refused."""


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    weight: float = field(default=1.0, metadata=NOT_NEGATIVE)
    """Of the matrix cross-entropy beside the cross-entropy; 0 leaves it out, the paper has 1."""

    eps: float = field(default=1e-2, metadata=BETWEEN_0_AND_1)
    """Weight of the identity in the density matrix of a prediction; the paper names none."""

    method: str = field(default="lanczos", metadata=choice("exact", "lanczos", "top_r"))
    """lanczos, top_r or exact; see language/matrix_cross_entropy.py."""

    steps: int = field(default=8, metadata=AT_LEAST_1)
    """Of lanczos, at most the width of the model; the tokens of top_r."""

    tolerance: float = field(default=0.0, metadata=BELOW_1)
    """Of lanczos: a token needs no more steps once its two bounds differ by this share of its loss; 0: all steps."""

    center: bool = False
    """Take the mean row off the embeddings first; not in the paper."""

    detach_embeddings: bool = True
    """No gradient of the matrix cross-entropy to the embeddings themselves."""

    permute_rows: bool = False
    """A control: the rows of the embeddings are permuted, so that they keep their spectrum and lose their meaning."""

    label_smoothing: float = field(default=0.0, metadata=BELOW_1)
    """A control: of the cross-entropy."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    lr: float = field(default=2e-5, metadata=NOT_NEGATIVE)
    """Peak learning rate of AdamW."""

    weight_decay: float = field(default=0.0, metadata=NOT_NEGATIVE)
    """Of matrices; biases, norms and embeddings have none."""

    beta2: float = field(default=0.999, metadata=BELOW_1)
    """Of AdamW."""

    warmup: float = field(default=0.03, metadata=SHARE)
    """Share of the steps in which the learning rate rises from 0; then a cosine to 0."""

    clip: float = field(default=1.0, metadata=ABOVE_0)
    """Largest norm of the gradient."""


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    every: int = field(default=10, metadata=AT_LEAST_1)
    """Steps between two lines in log.jsonl."""

    checkpoint_every: int = field(default=200, metadata=AT_LEAST_1)
    """Steps between two writes of checkpoint.pth (one is written when a signal asks the run to stop as well)."""


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    epochs: int = field(default=3, metadata=AT_LEAST_1)
    """Passes over the examples."""

    batch_size: int = field(default=128, metadata=AT_LEAST_1)
    """Examples of a step over all processes and all accumulated parts."""

    micro_batch: int = field(default=4, metadata=AT_LEAST_1)
    """Examples that a process computes at a time; the gradients of a step's parts are added up."""

    seed: int = field(default=0, metadata=limit("from 0 to 2^32 - 1", 0, 2**32 - 1))
    """Fixes initial weights and the order of the examples."""

    variant: str = ""
    """How this run differs from its recipe, in a word: a row of its own in the tables."""

    device: str = field(default="auto", metadata=choice("auto", "cpu", "cuda"))
    """auto, cpu or cuda."""

    precision: str = field(default="fp32", metadata=choice("fp32", "bf16"))
    """bf16 (autocast; the losses stay in float32) or fp32."""

    activation_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""

    model: ModelConfig = field(default_factory=ModelConfig)
    text: TextConfig = field(default_factory=TextConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    log: LogConfig = field(default_factory=LogConfig)


def available() -> list[str]:
    """Names of the recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def resolve(recipe: str, pairs: list[str]) -> LanguageConfig:
    """The settings of a run: a recipe by name or as a yaml file, then KEY=VALUE.

    Raises UserError naming every unknown key, every value of the wrong type and every number outside its limits.
    """
    path = (
        Path(recipe)
        if recipe.endswith((".yaml", ".yml"))
        else RECIPES / f"{one_of('recipe', recipe, available())}.yaml"
    )
    values: Any = read_yaml(as_submitted(path)) or {}
    return updated(updated(LanguageConfig(), values, path.name), parse_pairs(pairs), "the command line")
