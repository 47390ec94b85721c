"""Arithmetic word problems by a grammar: every problem is a function of (seed, split, index), any number of them.

A problem opens with two numbers and one operation (a frame), goes on with further steps, and ends with a question. All
results are whole numbers from 1 to 999. Splits have no (frame, numbers) in common:

    train      one or two operations
    test       the same kinds of problem with other numbers
    harder     one operation more than `train` has
    rephrased  test problems in phrasings that `train` does not have
    backward   test problems with a number replaced by x, to be found from the answer (FOBAR's form)

An entry has MetaMathQA's fields, query, response, type and original_question, so that the reader, the prompts and the
extractors of the real sets serve these too.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from runtime.command_line import UserError

SPLITS = ("train", "test", "harder", "rephrased", "backward")
MOST = 999
DRAWS = 20_000
"""In a row that bring nothing new, after which a split is taken to be used up."""

TRAIN_SHARE = 0.8
"""Of the (frame, numbers): those that `train` may have."""

NAMES = ("Anna", "Ben", "Clara", "David", "Ella", "Felix", "Grace", "Hugo", "Iris", "Jonas", "Kim", "Leo")
THINGS = ("apples", "books", "cards", "coins", "eggs", "flowers", "marbles", "pens", "shells", "stamps")

SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
INVERSE = {"add": "subtract", "subtract": "add", "multiply": "divide", "divide": "multiply"}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A scene with a first operation on the numbers a and b."""

    name: str
    operation: str
    openings: tuple[str, ...]
    """Phrasings of the opening; `train` has all but the last."""
    question: str


FRAMES = (
    Frame(
        name="shop",
        operation="multiply",
        openings=(
            "{name} buys {a} boxes with {b} {thing} in each .",
            "There are {b} {thing} in a box . {name} buys {a} boxes .",
            "{name} comes home from the shop with {a} boxes that hold {b} {thing} each .",
        ),
        question="How many {thing} does {name} have ?",
    ),
    Frame(
        name="farm",
        operation="multiply",
        openings=(
            "{name} plants {a} rows of {b} trees .",
            "A farm of {name} has {a} rows with {b} trees in each row .",
            "On the field of {name} stand {a} rows and every row counts {b} trees .",
        ),
        question="How many trees does {name} have ?",
    ),
    Frame(
        name="trip",
        operation="multiply",
        openings=(
            "{name} drives {a} hours at {b} miles an hour .",
            "At {b} miles an hour {name} drives for {a} hours .",
            "A drive of {name} takes {a} hours with {b} miles in each hour .",
        ),
        question="How many miles is that for {name} ?",
    ),
    Frame(
        name="recipe",
        operation="multiply",
        openings=(
            "{name} bakes {a} cakes with {b} spoons of sugar in each .",
            "A cake needs {b} spoons of sugar . {name} bakes {a} cakes .",
            "For every one of {a} cakes {name} takes {b} spoons of sugar .",
        ),
        question="How many spoons does {name} count ?",
    ),
    Frame(
        name="savings",
        operation="multiply",
        openings=(
            "{name} saves {b} dollars a week for {a} weeks .",
            "For {a} weeks {name} saves {b} dollars each week .",
            "Week after week {name} puts {b} dollars aside , {a} weeks long .",
        ),
        question="How many dollars does {name} have ?",
    ),
    Frame(
        name="sharing",
        operation="divide",
        openings=(
            "{b} friends share {a} {thing} equally . {name} is one of them .",
            "{name} shares {a} {thing} equally in a group of {b} .",
            "{a} {thing} are split evenly into {b} parts and {name} takes one part .",
        ),
        question="How many {thing} does {name} have ?",
    ),
    Frame(
        name="reading",
        operation="multiply",
        openings=(
            "{name} reads {b} pages a day for {a} days .",
            "For {a} days {name} reads {b} pages every day .",
            "Each of {a} days sees {name} read {b} pages .",
        ),
        question="How many pages does {name} count ?",
    ),
    Frame(
        name="work",
        operation="multiply",
        openings=(
            "{name} makes {b} toys an hour and works {a} hours .",
            "In {a} hours of work {name} makes {b} toys every hour .",
            "A shift of {name} has {a} hours and gives {b} toys in each hour .",
        ),
        question="How many toys does {name} count ?",
    ),
    Frame(
        name="sports",
        operation="add",
        openings=(
            "{name} scores {a} points in a first game and {b} points in a second .",
            "After {a} points in one game {name} scores {b} points in the next .",
            "Two games bring {name} {a} points and {b} points .",
        ),
        question="How many points does {name} have ?",
    ),
    Frame(
        name="ages",
        operation="subtract",
        openings=(
            "An aunt of {name} is {a} years old and {name} is {b} years younger .",
            "{name} is {b} years younger than an aunt of {a} years .",
            "Take {b} years from an aunt of {a} years and you have the age of {name} .",
        ),
        question="How many years does {name} count ?",
    ),
    Frame(
        name="tickets",
        operation="multiply",
        openings=(
            "{name} sells {a} tickets for {b} dollars each .",
            "A ticket costs {b} dollars and {name} sells {a} of them .",
            "At {b} dollars a piece {name} gets rid of {a} tickets .",
        ),
        question="How many dollars does {name} have ?",
    ),
    Frame(
        name="building",
        operation="multiply",
        openings=(
            "{name} builds {a} walls with {b} stones in each .",
            "A wall takes {b} stones and {name} builds {a} walls .",
            "Of {a} walls that {name} builds every one takes {b} stones .",
        ),
        question="How many stones does {name} count ?",
    ),
)

# Phrasings of a further step; `train` has all but the last.
STEPS = {
    "add": ("Then {c} more come .", "{c} more are added .", "A further {c} join them ."),
    "subtract": ("Then {c} are lost .", "{c} of them go away .", "Later {c} are missing ."),
    "multiply": (
        "Then the number grows {c} times .",
        "It becomes {c} times as many .",
        "The whole is taken {c} times .",
    ),
    "divide": (
        "Then only one part of {c} is kept .",
        "Of {c} equal parts one stays .",
        "One of {c} even shares is left .",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A chain of operations: the first number, then (operation, number) one after the other."""

    frame: Frame
    first: int
    steps: tuple[tuple[str, int], ...]
    name: str
    thing: str
    phrasing: tuple[int, ...]
    """Number of the phrasing of the opening and of each further step."""

    @property
    def numbers(self) -> tuple[int, ...]:
        return (self.first, *(number for _, number in self.steps))

    @property
    def values(self) -> list[int]:
        """What stands after each operation; the last is the answer."""
        values, value = [], self.first
        for operation, number in self.steps:
            value = applied(operation, value, number)
            values.append(value)
        return values

    def text(self, *, hidden: bool = False) -> str:
        """The problem in words; ``hidden`` shows x for the first number."""
        words = {"name": self.name, "thing": self.thing}
        a = "x" if hidden else str(self.first)
        parts = [self.frame.openings[self.phrasing[0]].format(a=a, b=self.steps[0][1], **words)]
        for (operation, number), phrasing in zip(self.steps[1:], self.phrasing[1:], strict=True):
            parts.append(STEPS[operation][phrasing].format(c=number))
        return " ".join([*parts, self.frame.question.format(**words)])


def applied(operation: str, value: int, number: int) -> int:
    """The result of one operation; of a division that leaves a rest, 0, which no problem has."""
    if operation == "divide":
        return value // number if value % number == 0 else 0
    return {"add": value + number, "subtract": value - number, "multiply": value * number}[operation]


def problems(split: str, count: int, *, seed: int = 0, most: int = 50) -> Iterator[dict[str, str]]:
    """The first ``count`` entries of a split, no two with the same text; numbers in a problem are at most ``most``.

    Raises UserError where there are not so many.
    """
    seen: set[str] = set()
    index = last = 0
    while len(seen) < count:
        problem = _draw(split, index, seed=seed, most=most)
        index += 1
        if index - last > DRAWS:
            raise UserError(
                f"{count} problems of the split {split} are asked, with numbers up to {most} about {len(seen)} were "
                "found; ask for fewer, or allow larger numbers"
            )
        made = problem and entry(problem, backward=split == "backward")
        if made and made["query"] not in seen:
            seen.add(made["query"])
            last = index
            yield made


def _draw(split: str, index: int, *, seed: int, most: int) -> Problem | None:
    """The problem of an index, or None where the draw is none of this split."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    frame = FRAMES[rng.integers(len(FRAMES))]
    further = 2 if split == "harder" else int(rng.integers(2))
    first, number = (int(value) for value in rng.integers(2, most + 1, 2))
    operations = [str(rng.choice(list(STEPS))) for _ in range(further)]
    numbers = [
        int(rng.integers(2, 11 if operation in ("multiply", "divide") else most + 1)) for operation in operations
    ]
    phrasing = [2 if split == "rephrased" else int(rng.integers(2)) for _ in range(1 + further)]
    problem = Problem(
        frame=frame,
        first=first,
        steps=((frame.operation, number), *zip(operations, numbers, strict=True)),
        name=str(rng.choice(NAMES)),
        thing=str(rng.choice(THINGS)),
        phrasing=tuple(phrasing),
    )
    if not all(0 < value <= MOST for value in problem.values):
        return None
    return problem if is_for_training(problem) == (split == "train") else None


def is_for_training(problem: Problem) -> bool:
    """Whether the (frame, numbers) of a problem belong to `train`: by their hash, whatever the seed."""
    text = f"{problem.frame.name} {problem.numbers}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") < TRAIN_SHARE * 2**32


def entry(problem: Problem, *, backward: bool = False) -> dict[str, str]:
    """A problem in MetaMathQA's fields; its response says each operation on a line, then the answer twice."""
    lines, value, original = [], problem.first, problem.text()
    answer = problem.values[-1]
    if backward:
        query = f"{problem.text(hidden=True)} If we know the answer is {answer} , what is the value of x ?"
        value, answer = answer, problem.first
        for operation, number in reversed(problem.steps):
            result = applied(INVERSE[operation], value, number)
            lines.append(f"{value} {SIGNS[INVERSE[operation]]} {number} = {result}")
            value = result
        kind = "GSM_FOBAR"
    else:
        query, kind = original, "GSM_AnsAug"
        for (operation, number), result in zip(problem.steps, problem.values, strict=True):
            lines.append(f"{value} {SIGNS[operation]} {number} = {result}")
            value = result
    response = "\n".join([*lines, f"#### {answer}", f"The answer is: {answer}"])
    return {"query": query, "response": response, "type": kind, "original_question": original}
