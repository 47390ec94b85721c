"""Examples of a data set: questions with their worked answers, from local files or made by the grammar."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from language.answers import reference
from language.config import EMBEDDED, TextConfig
from language.word_problems import problems
from runtime.command_line import UserError
from runtime.read import parse_json, read_text

LIMIT_BYTES = 4 << 30
"""Most bytes of a file of examples; MetaMathQA has 0.4 GB."""

FORMS = (("query", "response"), ("question", "answer"), ("instruction", "output"), ("problem", "solution"))
"""Names of the question and of its worked answer: MetaMathQA, GSM8K, MetaMath's MATH, MATH itself."""


class Example(NamedTuple):
    question: str
    response: str


def training_examples(config: TextConfig, *, seed: int) -> list[Example]:
    """The examples that ``config`` names. Raises UserError for a file that is none, with the number of the entry."""
    if config.path == EMBEDDED:
        made = problems("train", config.problems, seed=seed, most=config.most)
        return [Example(entry["query"], entry["response"]) for entry in made]
    return read_examples(config.path)


def read_examples(path: str | Path) -> list[Example]:
    """The examples of a json list or a jsonl file, in any of FORMS.

    Raises UserError naming the line (of a list: the entry) that is no object or lacks a field.
    """
    text = read_text(path, limit_bytes=LIMIT_BYTES)
    if text.lstrip().startswith("["):
        entries = parse_json(text, path)
        return _checked(path, "entry", enumerate(entries, start=1))
    lines = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
    return _checked(path, "line", ((number, _parsed(path, number, line)) for number, line in lines))


def _parsed(path: str | Path, number: int, line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} line {number} is no JSON; correct it or take it out") from error


def _checked(path: str | Path, unit: str, entries: Iterable[tuple[int, object]]) -> list[Example]:
    examples, form = [], None
    for number, entry in entries:
        if not isinstance(entry, dict):
            raise UserError(
                f"{path} {unit} {number} is a {type(entry).__name__}, expected an object with {_expected()}"
            )
        form = form or next((names for names in FORMS if set(names) <= entry.keys()), None)
        if form is None or not all(isinstance(entry.get(name), str) for name in form):
            lacking = ", ".join(name for name in form or () if not isinstance(entry.get(name), str)) or _expected()
            raise UserError(f"{path} {unit} {number} has no text in {lacking}; correct it or take it out")
        example = Example(entry[form[0]], entry[form[1]])
        if not all(map(_is_whole, example)):
            raise UserError(f"{path} {unit} {number} holds half of a character (\\ud800 to \\udfff); correct it")
        examples.append(example)
    if not examples:
        raise UserError(f"{path} holds no examples; expected objects with {_expected()}")
    return examples


def _is_whole(text: str) -> bool:
    """Whether no character of a text is half of a pair, which no tokenizer takes."""
    try:
        return text.encode() is not None
    except UnicodeEncodeError:
        return False


def _expected() -> str:
    return " or ".join("/".join(names) for names in FORMS)


def references(examples: list[Example], source: object) -> list[str]:
    """The expected answer of each. Raises UserError naming the first whose response has none."""
    found = [reference(example.response) for example in examples]
    for number, answer in enumerate(found, start=1):
        if answer is None:
            raise UserError(f"{source} entry {number} has no answer after #### and none in a box; correct it")
    return [answer for answer in found if answer is not None]
