"""Fine-tune a causal language model with cross-entropy and matrix cross-entropy (arXiv 2305.17326, section 7).

    python language/train.py --recipe demo --out runs/mine loss.weight=1
    python language/train.py --recipe metamath-llama-7b --out runs/7b model.path=llemma_7b text.path=MetaMathQA.json

The same command again resumes, or returns if all is done.
"""

import argparse
from pathlib import Path

from language import config
from runtime.command_line import Parser, run
from runtime.settings import describe


def parser() -> Parser:
    result = Parser(
        prog="train.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="settings (KEY=VALUE), with their defaults:\n" + describe(config.LanguageConfig()),
    )
    result.add_argument(
        "--recipe", default="demo", metavar="NAME", help=f"{', '.join(config.available())}, or a yaml file"
    )
    result.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    result.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE", help="settings, dotted: loss.weight=1 (listed below)"
    )
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line, its settings resolved. Raises UserError with all faults."""
    arguments = parser().parse_intermixed_args(argv)
    arguments.config = config.resolve(arguments.recipe, arguments.settings)
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    from language import training_loop  # torch, which takes seconds to import

    return training_loop.run(arguments.recipe, arguments.config, arguments.out)


if __name__ == "__main__":
    run(main)
