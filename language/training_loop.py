"""The loop of a fine-tuning run: examples -> logits -> cross-entropy + weight * matrix cross-entropy -> step.

The order of the examples is a function of (seed, step), so a resumed run sees what it would have seen. Losses are means
over the response tokens of the global batch, however it is shared between processes and accumulated parts.
"""

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils.rnn import pad_sequence

from language import models
from language.config import EMBEDDED, LanguageConfig, LogConfig
from language.examples import Example, training_examples
from language.matrix_cross_entropy import IGNORED, matrix_cross_entropy
from language.prompts import evaluation_prompt, training_prompt
from pretrain.checkpoints.retention import Checkpoints
from pretrain.losses.matrix_information import effective_rank
from runtime import distributed
from runtime.command_line import UserError
from runtime.files import sha256, write_json
from runtime.jsonl_log import Log
from runtime.precision import autocast, check_precision
from runtime.progress import Progress
from runtime.provenance import commit
from runtime.run_guard import RunGuard
from runtime.settings import flat
from runtime.stopping import StopRequest

FORMAT = "ssl-transfer-bench/language/1"

# Settings that may change when a run is resumed: they touch its result no more than the number of processes does.
FREE = {"settings.device", "settings.micro_batch", "settings.activation_checkpointing"}
FREE |= {f"settings.log.{field.name}" for field in fields(LogConfig)}


class Encoded(NamedTuple):
    tokens: list[int]
    prompt: int
    """How many of the tokens are the prompt's; the loss is on the others."""


def prompt_of(question: str, form: str) -> str:
    """What a model of this prompt form reads before it answers, in training."""
    return training_prompt(question) if form == "metamath" else f"{question}\n"


def known_texts(config: LanguageConfig) -> tuple[str, ...]:
    """What the small model's tokenizer must know besides the problems."""
    return (training_prompt(""), evaluation_prompt("")) if config.text.prompt == "metamath" else ()


def encode(
    examples: list[Example], tokenizer: Any, *, form: str, max_length: int, context: int | None = None
) -> list[Encoded]:
    """Tokens of prompt, response and end.

    Raises UserError that counts the examples longer than ``max_length``, or than the model's context, and names the
    first; and for a tokenizer without an end.
    """
    what = f"text.max_length={max_length}"
    if context is not None and context < max_length:
        max_length, what = context, f"the model's context of {context}"
    if tokenizer.eos_token_id is None:
        raise UserError(
            "the model's tokenizer has no token that ends a text, which every response needs; name one of its tokens "
            "as eos_token in tokenizer_config.json"
        )
    encoded = []
    for example in examples:
        prompt = tokenizer(prompt_of(example.question, form))["input_ids"]
        response = tokenizer(example.response, add_special_tokens=False)["input_ids"]
        encoded.append(Encoded([*prompt, *response, tokenizer.eos_token_id], len(prompt)))
    long = [k for k, one in enumerate(encoded) if len(one.tokens) > max_length]
    if long:
        raise UserError(
            f"{len(long)} examples are longer than {what} tokens, the first is number {long[0] + 1} with "
            f"{len(encoded[long[0]].tokens)}; raise it or take them out"
        )
    return encoded


def micro_batches(order: list[Encoded], size: int, pad: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens (b, T) and targets (b, T - 1) of each part of a step, padded on the right."""
    for first in range(0, len(order), size):
        part = order[first : first + size]
        tokens = pad_sequence([torch.tensor(one.tokens) for one in part], batch_first=True, padding_value=pad)
        targets = pad_sequence(
            [torch.tensor([IGNORED] * (one.prompt - 1) + one.tokens[one.prompt :]) for one in part],
            batch_first=True,
            padding_value=IGNORED,
        )
        yield tokens, targets


def indices_of(step: int, *, count: int, batch_size: int, seed: int) -> list[int]:
    """The examples of a step: a permutation for each epoch; the incomplete last batch is left out."""
    epoch, within = divmod(step, count // batch_size)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return order[within * batch_size : (within + 1) * batch_size].tolist()


def learning_rate(step: int, total: int, *, peak: float, warmup: float) -> float:
    """Linear from 0 over the warm-up, then a cosine to 0."""
    rising = round(warmup * total)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


class Run:
    """The state of a run: model, optimiser, steps done; saved to and restored from its folder.

    Over several processes the weights are sharded; a checkpoint holds them whole: any number of processes resumes it.
    """

    def __init__(self, model: nn.Module, config: LanguageConfig, folder: Path, *, recipe: str):
        self.model, self.config, self.step = model, config, 0
        self.optimizer = optimizer_of(model, config)
        self.about = {"recipe": recipe, "variant": config.variant, "seed": config.seed, "commit": commit()}
        self.about["config"] = asdict(config)
        self.checkpoints = Checkpoints(folder)
        saved = self.checkpoints.read() if distributed.is_main() else None
        found = [saved is not None, saved["step"] if saved else 0]
        if distributed.world_size() > 1:
            torch.distributed.broadcast_object_list(found)
        if found[0]:
            self._restore(saved or {}, folder)
            self.step = int(found[1])

    def save(self) -> None:
        """Write checkpoint.pth (the first rank does; all take part)."""
        weights, state = get_state_dict(self.model, self.optimizer, options=WHOLE)
        if distributed.is_main():
            content = {"format": FORMAT, **self.about, "model": weights, "optimizer": state, "step": self.step}
            self.checkpoints.save(content)

    def _restore(self, saved: dict, folder: Path) -> None:
        if distributed.is_main() and saved.get("format") != FORMAT:
            raise UserError(f"the checkpoint in {folder} is none of a language model; choose another --out")
        options = replace(WHOLE, broadcast_from_rank0=distributed.world_size() > 1, strict=False, cpu_offload=False)
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=saved.get("model", {}),
            optim_state_dict=saved.get("optimizer", {}),
            options=options,
        )


WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
"""Of low-rank updates the updates alone: the weights below them are still where they were read."""


def optimizer_of(model: nn.Module, config: LanguageConfig) -> torch.optim.AdamW:
    """AdamW; matrices other than embeddings decay."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decays = {name for name, p in trained if p.ndim > 1 and "embed" not in name}
    groups = [
        {"params": [p for name, p in trained if name in decays], "weight_decay": config.optim.weight_decay},
        {"params": [p for name, p in trained if name not in decays], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, config.optim.beta2))


def prepare(model: Any, config: LanguageConfig, device: torch.device) -> Any:
    """The model as it is trained: with activation checkpointing, sharded over processes."""
    if config.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.config.use_cache = False
    model = model.to(device).train()
    if distributed.world_size() > 1:
        for layer in (module for module in model.modules() if type(module).__name__.endswith("DecoderLayer")):
            fully_shard(layer)
        fully_shard(model)
    return model


def check_fits(model: Any, config: LanguageConfig, device: torch.device) -> None:
    """Raise UserError where the loss or the texts ask for more than the model has, or the device lacks bfloat16."""
    check_precision(config.precision, device)
    width = model.get_output_embeddings().weight.shape[1]
    if config.loss.weight and config.loss.method == "lanczos" and config.loss.steps > width:
        raise UserError(f"loss.steps={config.loss.steps} is more than the width of the model, {width}; lower it")


def steps_per_epoch(count: int, config: LanguageConfig) -> int:
    """Full batches in ``count`` examples. Raises UserError where batch, processes and examples do not fit together."""
    world, batch = distributed.world_size(), config.batch_size
    if batch % world:
        raise UserError(f"batch_size={batch} cannot be shared by {world} processes; give a multiple of {world}")
    if count < batch:
        raise UserError(f"batch_size={batch} is more than the {count} examples; lower it")
    return count // batch


def losses(logits: Tensor, targets: Tensor, embeddings: Tensor, config: LanguageConfig) -> dict[str, Tensor]:
    """Sums over the response tokens: ``ce``, ``mce`` where it has a weight, and ``gap`` of its two bounds, detached.

    Args:
        logits: (b, T, V), each position's prediction of the next token.
        targets: (b, T - 1), IGNORED outside the response.
        embeddings: (V, d), the rows of the head.
    """
    wanted = targets != IGNORED
    logits, targets = logits[:, :-1][wanted], targets[wanted]
    own = config.loss
    terms = {"ce": F.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=own.label_smoothing)}
    if own.weight:
        mce, upper = matrix_cross_entropy(
            logits,
            targets,
            embeddings,
            eps=own.eps,
            method=own.method,  # pyright: ignore[reportArgumentType]
            steps=own.steps,
            tolerance=own.tolerance,
            center=own.center,
            detach_embeddings=own.detach_embeddings,
            bounds=True,
        )
        terms |= {"mce": mce.sum(), "gap": (upper - mce.detach()).sum()}
    return terms


def inputs_of(config: LanguageConfig) -> dict[str, str]:
    """Hashes of the files that a run reads: other files under the same names are another run's."""
    inputs = {}
    if config.text.path != EMBEDDED:
        inputs["text_sha256"] = sha256(Path(config.text.path))
    if config.model.path != models.TINY:
        path = Path(config.model.path)
        inputs |= {"weights_sha256": models.weights_hash(path), "tokenizer_sha256": models.tokenizer_hash(path)}
    return inputs


def guard_of(folder: Path, inputs: dict[str, str] | None = None) -> RunGuard:
    """The guard of a run's folder. Where the ``inputs`` are known, their place may change."""
    return RunGuard(
        folder=folder,
        file="config.yaml",
        outputs=("checkpoint.pth", "checkpoints/step-*.pth", "model/run.json"),
        exclusive=True,
        free=FREE,
        defaults=flat({"settings": asdict(LanguageConfig()), "inputs": inputs or {}}),
        instead={"settings.text.path": "inputs.text_sha256", "settings.model.path": "inputs.weights_sha256"},
    )


def run(recipe: str, config: LanguageConfig, folder: Path) -> int:
    """Train in ``folder``, or return at once where all is done; returns the exit code, and leaves the process group.

    Raises UserError if the folder is another run's, or in use by another process.
    """
    identity = {"recipe": recipe, "settings": asdict(config)}
    try:
        if models.is_whole(folder / "model"):
            guard_of(folder).check(identity)
            print(f"done already: {folder / 'model'}")
            return 0

        def claim(inputs: dict[str, str]) -> None:
            guard_of(folder, inputs).claim(identity | {"inputs": inputs})

        return train(recipe, config, folder, claim=claim)
    finally:
        distributed.shutdown()


def train(recipe: str, config: LanguageConfig, folder: Path, *, claim: Callable[[dict[str, str]], None]) -> int:
    """Train (or go on training) in ``folder``; returns the exit code. Raises UserError for a user's mistake.

    ``claim`` makes the folder that of a run with these settings and the inputs of these hashes.
    """
    device = distributed.init(config.device)
    examples = training_examples(config.text, seed=config.seed)
    model, tokenizer = models.load(config.model, seed=config.seed, prompts=known_texts(config))
    check_fits(model, config, device)
    encoded = encode(
        examples,
        tokenizer,
        form=config.text.prompt,
        max_length=config.text.max_length,
        context=getattr(model.config, "max_position_embeddings", None),
    )
    total = steps_per_epoch(len(encoded), config) * config.epochs
    claim(distributed.from_main(lambda: inputs_of(config)))
    state = Run(prepare(model, config, device), config, folder, recipe=recipe)
    stop = StopRequest()
    log = Log(folder, step=state.step) if distributed.is_main() else None
    progress = Progress(total, "fine-tune", start=state.step, quiet=log is None)
    while state.step < total:
        chosen = indices_of(state.step, count=len(encoded), batch_size=config.batch_size, seed=config.seed)
        own = [encoded[k] for k in chosen[distributed.rank() :: distributed.world_size()]]
        rate = learning_rate(state.step, total, peak=config.optim.lr, warmup=config.optim.warmup)
        values = take_step(state, own, rate, pad=tokenizer.pad_token_id, device=device)
        state.step += 1
        if state.step % config.log.every == 0 or state.step == total:
            values |= {"lr": rate, "head_rank": head_rank(state.model)}
            if log:
                log.write(state.step, values)
        progress.update(state.step, ", ".join(f"{name} {value:.3g}" for name, value in values.items()))
        interrupted = distributed.any_rank(stop.signal is not None, device)
        if interrupted or state.step % config.log.checkpoint_every == 0 or state.step == total:
            state.save()
        if interrupted and state.step < total:
            if log:
                print(f"stopped at step {state.step} of {total}; the same command goes on from there", file=sys.stderr)
            return stop.exit_code
    finish(state, tokenizer, folder)
    return 0


def take_step(state: Run, own: list[Encoded], rate: float, *, pad: int, device: torch.device) -> dict[str, float]:
    """One step on this rank's share of a batch; the means of the loss terms over the global batch.

    Raises UserError where the loss is not finite; the weights are then as they were.
    """
    config, model = state.config, state.model
    tokens = over_ranks(float(sum(len(one.tokens) - one.prompt for one in own)), device)
    sums: dict[str, float] = {}
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)
    # What dropout draws is a function of the step as well, so that a resumed run draws what it would have drawn.
    drawn_from = np.random.SeedSequence([config.seed, state.step, distributed.rank()])
    torch.manual_seed(int(drawn_from.generate_state(1)[0]))
    for ids, targets in micro_batches(own, config.micro_batch, pad):
        with autocast(config.precision, device):
            logits = model(input_ids=ids.to(device)).logits
        terms = losses(logits, targets.to(device), head_of(model, config), config)
        loss = terms["ce"] + config.loss.weight * terms["mce"] if "mce" in terms else terms["ce"]
        (loss * distributed.world_size() / tokens).backward()  # sharding takes the mean of the ranks' gradients
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + term.item()
    values = {name: over_ranks(value, device) / tokens for name, value in sums.items()}
    if not math.isfinite(sum(values.values())):
        found = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        raise UserError(
            f"the loss is not finite at step {state.step + 1} ({found}); in another --out lower optim.lr, or try "
            "precision=fp32; the last checkpoint here is untouched"
        )
    nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip)
    state.optimizer.step()
    return values


def head_of(model: Any, config: LanguageConfig) -> Tensor:
    """The rows (V, d) that the matrix loss sees: the head's, permuted where the settings say so."""
    rows = whole(model.get_output_embeddings().weight)
    if not config.loss.permute_rows:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(config.seed))
    return rows[order.to(rows.device)]


@torch.no_grad()
def head_rank(model: Any) -> float:
    """Effective rank of the second moment of the head's normalised rows."""
    rows = F.normalize(whole(model.get_output_embeddings().weight).double(), dim=1)
    return effective_rank(rows.T @ rows).item()


def whole(weight: Tensor) -> Tensor:
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


def over_ranks(value: float, device: torch.device) -> float:
    """The sum over all processes."""
    if distributed.world_size() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(total)
    return total.item()


def finish(state: Any, tokenizer: Any, folder: Path) -> None:
    """Write the folder ``model`` as transformers reads it, whole or not at all."""
    weights, _ = get_state_dict(state.model, state.optimizer, options=WHOLE)
    if not distributed.is_main():
        return
    temporary, final = folder / f".model.{os.getpid()}.tmp", folder / "model"
    if state.config.model.lora_rank:
        merged(state, weights).save_pretrained(temporary)
    else:
        state.model.save_pretrained(temporary, state_dict=weights)
    tokenizer.save_pretrained(temporary)
    about = {**state.about, "step": state.step, "tokenizer_sha256": models.tokenizer_hash(temporary)}
    write_json(temporary / "run.json", about)
    if final.exists():  # it is damaged, or the run would not have gone on
        shutil.rmtree(final)
    temporary.rename(final)
    state.checkpoints.finish()
    print(f"fine-tuned: {final}")


def merged(state: Any, updates: dict[str, Any]) -> Any:
    """A plain model with the low-rank updates added to its weights; one process alone makes it."""
    model, own = state.model, state.config
    if distributed.world_size() > 1:  # what is sharded cannot be added up here
        model, _ = models.load(own.model, seed=own.seed, prompts=known_texts(own))
        model.load_state_dict(updates, strict=False)
    return model.merge_and_unload()
