"""Pack a tree of images into tar shards that data.root reads at random, in the order of the tree.

    python pretrain/pack.py /data/imagenet/train /data/imagenet-packed/train
    python pretrain/train.py ... data.root=/data/imagenet-packed/train

The same command goes on where it was interrupted, and ends with the same bytes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime.command_line import Parser, UserError, run


def parser() -> Parser:
    made = Parser(
        prog="pack.py",
        usage="%(prog)s [-h] [--shard-mb N] SRC OUT\n       %(prog)s --check OUT",
        description="Pack a tree of images into tar shards with an index, each read again and compared. The same "
        "command again goes on, or returns if all is done.",
    )
    made.add_argument("source", type=Path, nargs="?", metavar="SRC", help="folder of images, as data.root takes it")
    made.add_argument("out", type=Path, metavar="OUT", help="folder of the shards: new, empty, or of the same command")
    made.add_argument("--shard-mb", type=int, default=1024, metavar="N", help="size of a shard (default %(default)s)")
    made.add_argument("--check", action="store_true", help="read every byte of the pack OUT and compare its checksums")
    return made


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments. Raises UserError for a size below 1, for folders that lie in each other, and for one too few."""
    arguments = parser().parse_args(argv)
    if arguments.check:
        if arguments.source:
            raise UserError(f"--check takes the folder of a pack alone, got {arguments.source} and {arguments.out}")
        return arguments
    if not arguments.source:
        raise UserError(f"expected SRC and OUT, got {arguments.out} alone (see --help)")
    if arguments.shard_mb < 1:
        raise UserError(f"--shard-mb is {arguments.shard_mb}, expected a number of megabytes of at least 1")
    source, out = arguments.source.resolve(), arguments.out.resolve()
    if source == out or source in out.parents or out in source.parents:
        raise UserError(f"{arguments.source} and {arguments.out} lie in each other; give an OUT outside SRC")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    from pretrain.data import packing  # numpy and Pillow

    if arguments.check:
        packing.verify(arguments.out)
    else:
        packing.pack(arguments.source, arguments.out, shard_bytes=arguments.shard_mb << 20)
    return 0


if __name__ == "__main__":
    run(main)
