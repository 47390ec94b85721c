"""Draw the embedded data set: scenes of textured shapes, with exact boxes and masks.

    python pretrain/scenes.py --out DIR --images 2000 --size 96 --seed 0

The same command again returns at once. What is written is listed in `pretrain.data.scenes`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime.command_line import Parser, UserError, run


def parser() -> Parser:
    made = Parser(
        prog="scenes.py", description="Draw the embedded data set: textured shapes with exact boxes and masks."
    )
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write (new, or the same set)")
    made.add_argument("--images", type=int, default=2000, help="unlabelled scenes; the other parts are shares of it")
    made.add_argument("--size", type=int, default=96, help="side of every image, pixels (default %(default)s)")
    made.add_argument("--seed", type=int, default=0, help="another seed, another set (default %(default)s)")
    return made


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments. Raises UserError for sizes that cannot be."""
    arguments = parser().parse_args(argv)
    if arguments.images < 40 or arguments.size < 32 or arguments.seed < 0:
        raise UserError(
            f"expected at least 40 --images of --size 32 and a --seed of 0 or more, got {arguments.images} of "
            f"{arguments.size} and {arguments.seed}"
        )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    from pretrain.data import scenes  # OpenCV

    scenes.write(arguments.out, images=arguments.images, size=arguments.size, seed=arguments.seed)
    print(f"scenes: {arguments.out} (look at {arguments.out / 'contact_sheet.png'})")
    return 0


if __name__ == "__main__":
    run(main)
