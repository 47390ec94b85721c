"""Judge kept answers again with lm-evaluation-harness' own task gsm8k (filter flexible-extract), on local files alone.

    python language/check_against_lm_eval.py runs/7b/gsm8k-flexible [RESULT ...]

Filter, patterns and what the metric ignores come from the installed lm_eval (pip install lm-eval; in no extra).
Each RESULT is a folder of language/evaluate.py. Exit code 1 where a verdict of gsm8k-flexible differs.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from language.answers import PROTOCOLS
from language.scores import ITEMS, read_items
from runtime.command_line import Parser, UserError, run
from runtime.read import read_yaml

PROTOCOL, FILTER = "lm-eval-flexible", "flexible-extract"
ABSENT = "is not installed; pip install lm-eval, the harness whose verdicts are compared"


def parser() -> Parser:
    result = Parser(
        prog="check_against_lm_eval.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("results", nargs="+", type=Path, metavar="RESULT", help=f"a folder with {ITEMS}")
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    return parser().parse_args(argv)


def verdicts(generated: list[str], expected: list[str]) -> list[bool]:
    """What lm-eval's task says of each answer: its filter finds it, its exact match compares it.

    Raises UserError where lm_eval is not installed, or where its task is not as it is known.
    """
    try:
        import lm_eval  # pyright: ignore[reportMissingImports]
        from lm_eval.filters.extraction import RegexFilter  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} {ABSENT}") from error
    task: Any = read_yaml(Path(str(lm_eval.__file__)).parent / "tasks" / "gsm8k" / "gsm8k.yaml")
    try:
        regex, first = next(entry["filter"] for entry in task["filter_list"] if entry["name"] == FILTER)
        metric = task["metric_list"][0]
        steps = [regex.pop("function"), first["function"], metric["metric"], metric["ignore_case"]]
        if steps != ["regex", "take_first", "exact_match", True]:
            raise ValueError(steps)
        found = RegexFilter(**regex).apply([[text] for text in generated], [{} for _ in generated])
        ignored = [re.compile(pattern) for pattern in metric["regexes_to_ignore"]]
    except (LookupError, StopIteration, TypeError, ValueError) as error:
        raise UserError(f"gsm8k of lm_eval {lm_eval.__version__} is unlike that of 0.4.13; install that one") from error

    def compared(text: str) -> str:
        for pattern in ignored:
            text = pattern.sub("", text)
        return text.lower()

    return [compared(each[0]) == compared(wanted) for each, wanted in zip(found, expected, strict=True)]


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    differing = 0
    for folder in arguments.results:
        items = read_items(folder / ITEMS)
        generated, expected = [item["generated"] for item in items], [item["expected"] for item in items]
        theirs = verdicts(generated, expected)
        ours = [PROTOCOLS[PROTOCOL](text, wanted) for text, wanted in zip(generated, expected, strict=True)]
        odd = [index for index, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        differing += len(odd)
        first = f", the first is item {odd[0]}" if odd else ""
        print(f"{folder}: {len(items)} answers, {sum(theirs)} right by lm-eval, {sum(ours)} by {PROTOCOL}", end="; ")
        print(f"{len(odd)} verdicts differ{first}")
    return 1 if differing else 0


if __name__ == "__main__":
    run(main)
