"""Greedy answers of a model to a benchmark's questions, batch by batch, and how many are right."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from language import models
from language.answers import PROTOCOLS
from language.benchmarks import BENCHMARKS
from language.config import ModelConfig
from language.examples import Example, read_examples, references
from language.prompts import evaluation_prompt, until_stop
from language.scores import ITEMS, accuracy
from language.word_problems import problems
from runtime import distributed, results, run_guard, typed_json
from runtime.command_line import UserError, one_of
from runtime.files import write_text
from runtime.progress import Progress
from runtime.provenance import commit
from runtime.read import read_jsonl
from runtime.results import Record
from runtime.settings import flat

WORD_PROBLEMS = 1000
"""Embedded questions where the command line gives no number."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a run of language/train.py says of the model it made; of any other model nothing is known."""

    recipe: str = ""
    variant: str = ""
    seed: int = 0
    epochs: int = 0
    prompt: str = ""
    tokenizer_sha256: str = ""


def questions(name: str, data: str | Path | None, *, count: int, most: int) -> list[Example]:
    """The questions of a benchmark: of a file, or ``count`` embedded ones (of seed 0, the same for every run)."""
    split = BENCHMARKS[one_of("benchmark", name, BENCHMARKS)].split
    if split:
        return [Example(e["query"], e["response"]) for e in problems(split, count, most=most)]
    if data is None:
        raise UserError(f"{name} needs --data FILE: the benchmark's json or jsonl, on this machine")
    return read_examples(data)[: count or None]


def prompt_of(question: str, form: str) -> str:
    """What the model reads: MetaMath's evaluation prompt, or the question and a new line."""
    return evaluation_prompt(question) if form == "metamath" else f"{question}\n"


@torch.no_grad()
def generate(
    model: Any, tokenizer: Any, prompts: Sequence[str], *, max_new_tokens: int, batch: int, label: str, done: int = 0
) -> Iterator[str]:
    """The greedy continuation of each prompt from number ``done`` on, up to the end token or a stop of MetaMath.

    Raises UserError that counts the prompts longer than the model's context, and names the first.
    """
    context = getattr(model.config, "max_position_embeddings", None) or math.inf
    lengths = [len(ids) for ids in tokenizer(list(prompts))["input_ids"]]
    if long := [k for k, length in enumerate(lengths) if length >= context]:
        raise UserError(
            f"{len(long)} prompts do not fit the model's context of {context} tokens, the first is number "
            f"{long[0] + 1} with {lengths[long[0]]}; use a model with a longer context"
        )
    tokenizer.padding_side = "left"
    progress = Progress(len(prompts), label, start=done)
    for first in range(done, len(prompts), batch):
        part = tokenizer(list(prompts[first : first + batch]), return_tensors="pt", padding=True).to(model.device)
        room = int(min(max_new_tokens, context - part["input_ids"].shape[1]))
        tokens = model.generate(
            input_ids=part["input_ids"],
            attention_mask=part["attention_mask"],
            do_sample=False,
            num_beams=1,
            max_new_tokens=room,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        new = tokens[:, part["input_ids"].shape[1] :]
        yield from (until_stop(text) for text in tokenizer.batch_decode(new, skip_special_tokens=True))
        progress.update(min(first + batch, len(prompts)))


def evaluate(
    source: Path,
    *,
    benchmark: str,
    data: Path | None,
    out: Path,
    form: str | None,
    count: int,
    most: int,
    batch: int,
    device: str,
) -> int:
    """Answer all questions, or go on, and write items.jsonl and result.json; returns the exit code."""
    asked = questions(benchmark, data, count=count or WORD_PROBLEMS * bool(BENCHMARKS[benchmark].split), most=most)
    expected = references(asked, data or benchmark)
    origin, folder = source_of(source)
    form = origin.prompt or form or "metamath"
    identity: dict[str, Any] = {"weights_sha256": models.weights_hash(folder)}
    identity["tokenizer_sha256"] = models.tokenizer_hash(folder)
    identity |= {"benchmark": benchmark, "prompt": form, "n": len(asked)}
    identity["questions_sha256"] = hashlib.sha256(json.dumps([asked, expected]).encode()).hexdigest()
    final, partial = out / ITEMS, out / f".{ITEMS}.partial"
    guard = run_guard.RunGuard(folder=out, outputs=("result.json", ITEMS, partial.name))
    guard.claim(identity)
    try:
        if final.is_file() and results.is_whole(out / "result.json"):
            print(f"done already: {out / 'result.json'}")
            return 0
        items = begun(final if final.is_file() else partial, expected, batch)
        write_text(partial, "".join(json.dumps(item) + "\n" for item in items))
        where = distributed.init(device)
        model, tokenizer = models.load(ModelConfig(path=str(folder)), seed=0)
        prompts = [prompt_of(example.question, form) for example in asked]
        kind = BENCHMARKS[benchmark]
        how = {"max_new_tokens": kind.max_new_tokens, "batch": batch, "label": benchmark, "done": len(items)}
        answers = generate(model.to(where).eval(), tokenizer, prompts, **how)
        with partial.open("a", encoding="utf-8") as file:
            for index, generated in enumerate(answers, start=len(items)):
                right = PROTOCOLS[kind.protocol](generated, expected[index])
                items.append({"index": index, "right": right, "expected": expected[index], "generated": generated})
                print(json.dumps(items[-1]), file=file, flush=True)
        partial.replace(final)
        write_result(out, items, origin, benchmark, form=form, model=folder, weights_sha256=identity["weights_sha256"])
    finally:
        guard.release()
    return 0


def write_result(
    out: Path, items: list[dict], origin: Origin, benchmark: str, *, form: str, model: Path, weights_sha256: str
) -> None:
    """Write and print the share that is right."""
    share, error = accuracy([item["right"] for item in items])
    record = Record(
        method="llm",
        recipe=Path(origin.recipe).stem,
        variant=origin.variant,
        epochs=origin.epochs,
        benchmark=benchmark,
        protocol=BENCHMARKS[benchmark].protocol,
        task="language",
        metric="accuracy",
        value=share,
        seed=origin.seed,
        commit=commit(),
        weights_sha256=weights_sha256,
        n=len(items),
    )
    results.write(out / "result.json", [record], standard_error=error, prompt=form, model=str(model))
    print(f"{benchmark}: {share:.1f} +- {error:.1f} percent of {len(items)} right: {out / 'result.json'}")


def source_of(path: Path) -> tuple[Origin, Path]:
    """What a run says of itself, and the folder of its model; of a plain model nothing.

    Raises UserError where neither is, and where the tokenizer is not the one that the run was trained with.
    """
    folder = path / "model" if (path / "model").is_dir() else path
    if (folder / run_guard.FILE).is_file():
        said = flat(run_guard.read(folder))
        said |= {name: said[key] for name, key in SETTINGS.items() if key in said}
        origin = typed_json.parse(Origin, said, where=str(folder / run_guard.FILE), remedy="restore it")
        if origin.tokenizer_sha256 not in ("", models.tokenizer_hash(folder)):
            raise UserError(f"the tokenizer in {folder} is not the one this run was trained with; put that one back")
        return origin, folder
    if (path / "checkpoint.pth").is_file():
        raise UserError(f"the run in {path} has no model yet; let language/train.py come to its end")
    models.check(folder)
    return Origin(), folder


SETTINGS = {"epochs": "config.epochs", "prompt": "config.text.prompt"}
"""Fields of `Origin` -> where run.json has them."""


def begun(kept: Path, expected: list[str], batch: int) -> list[dict]:
    """The answers that an interrupted run has kept, whole batches of them, or all; none where there is no file.

    Raises UserError for a file that is not as this command writes it.
    """
    items = read_jsonl(kept) if kept.is_file() else []
    for number, (item, answer) in enumerate(zip(items, expected, strict=False)):
        if (item.get("index"), item.get("expected")) != (number, answer) or type(item.get("right")) is not bool:
            raise UserError(f"{kept} line {number + 1} is no answer to question {number}; remove the file")
    return items[: len(items) if len(items) == len(expected) else len(items) // batch * batch]
