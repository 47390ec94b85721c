"""Answer a benchmark's questions with a fine-tuned language model, greedily, and count what is right.

    python language/evaluate.py --model runs/mine --benchmark word-problems-test --out runs/mine/word-problems-test
    python language/evaluate.py --model runs/7b --benchmark gsm8k --data GSM8K_test.jsonl --out runs/7b/gsm8k

The same command again goes on where it was interrupted, or returns if all is done. items.jsonl keeps every answer.
"""

import argparse
from pathlib import Path

from language.benchmarks import BENCHMARKS
from runtime.command_line import Parser, one_of, run


def parser() -> Parser:
    result = Parser(prog="evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--model", type=Path, required=True, metavar="RUN|DIR", help="a run, or a model of transformers"
    )
    result.add_argument("--benchmark", required=True, metavar="NAME", help=", ".join(BENCHMARKS))
    result.add_argument("--data", type=Path, metavar="FILE", help="the benchmark's json or jsonl; not of word problems")
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the result")
    result.add_argument("--prompt", choices=("metamath", "plain"), help="of a DIR that is no run (metamath)")
    result.add_argument("--questions", type=int, default=0, metavar="N", help="only the first N (word problems: 1000)")
    result.add_argument("--most", type=int, default=20, metavar="N", help="largest number in a word problem (20)")
    result.add_argument("--batch", type=int, default=64, metavar="N", help="questions at a time (64)")
    result.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto, cpu or cuda (auto)")
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line. Raises UserError for what does not fit together."""
    command = parser()
    arguments = command.parse_args(argv)
    one_of("benchmark", arguments.benchmark, BENCHMARKS)
    if arguments.data is None and not BENCHMARKS[arguments.benchmark].split:
        command.error(f"{arguments.benchmark} needs --data FILE, the benchmark's json or jsonl on this machine")
    for name, least in (("questions", 0), ("most", 2), ("batch", 1)):
        if getattr(arguments, name) < least:
            command.error(f"--{name} must be at least {least}, got {getattr(arguments, name)}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    from language.evaluation import evaluate

    return evaluate(
        arguments.model,
        benchmark=arguments.benchmark,
        data=arguments.data,
        out=arguments.out,
        form=arguments.prompt,
        count=arguments.questions,
        most=arguments.most,
        batch=arguments.batch,
        device=arguments.device,
    )


if __name__ == "__main__":
    run(main)
