"""Pretrain a backbone without labels.

    python pretrain/train.py --method matrix_ssl --out runs/mine data.root=/data/imagenet/train

The same command resumes an interrupted run. The loop is in `pretrain.training_loop.train`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pretrain import backbones, config, methods
from runtime.command_line import Faults, Parser, run
from runtime.settings import describe

DEFAULT_RECIPE = "imagenet-100ep"


def parser(method: str | None = None) -> Parser:
    """The parser of the command line; its help lists the settings of ``method``."""
    made = Parser(
        prog="train.py",
        description="Pretrain a backbone without labels. The same command again resumes, or returns if all is done.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--method", required=True, metavar="NAME", help=", ".join(methods.available()))
    made.add_argument(
        "--recipe", default=DEFAULT_RECIPE, help="name in pretrain/recipes, or a yaml file (default %(default)s)"
    )
    made.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    made.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings, dotted: optim.lr=0.5 (listed below)")
    return made


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, with ``config``, the TrainConfig they come to.

    Raises UserError naming all that is wrong with them, as far as it shows without torch and without the data.
    """
    early = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    early.add_argument("--method")
    early.add_argument("-h", "--help", action="store_true")
    known = early.parse_known_args(argv)[0]
    made = parser()
    if known.help:
        made.epilog = settings_help(known.method)
    arguments = made.parse_intermixed_args(argv)
    arguments.config = config.resolve(arguments.method, arguments.recipe, arguments.settings)
    faults = Faults()
    with faults.collected():
        config.check(arguments.method, arguments.config)
    if not arguments.config.data.root:
        faults.append("data.root is not set; give the folder of training images, e.g. data.root=/data/imagenet/train")
    faults.check()
    return arguments


def settings_help(name: str | None) -> str:
    """Every setting with its default for a method (Matrix-SSL where none is named)."""
    name = name if name in methods.available() else "matrix_ssl"
    lines = describe(config.resolve(name, DEFAULT_RECIPE, []))
    networks = f"backbone.name: {', '.join(backbones.names())}, any timm:NAME"
    return f"{networks}\n\nsettings (KEY=VALUE), with the defaults of {name} under {DEFAULT_RECIPE}:\n{lines}"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    from pretrain import training_loop  # torch, which takes seconds to import

    return training_loop.run(arguments.method, arguments.recipe, arguments.config, arguments.out)


if __name__ == "__main__":
    run(main)
