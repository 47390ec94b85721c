"""A stage that writes a file. On request it fails, or takes steps that survive an interruption."""

import os
import signal
import sys
import time
from pathlib import Path

from pretrain.config import read_recipe
from runtime.command_line import Parser, UserError


def parser():
    parser = Parser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--name", default="")
    parser.add_argument("--fails", default="", help="UserError if this is the --name")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--deaf", type=int, default=0, help="to so many signals")
    parser.add_argument("--recipe", help="written down as it is read")
    return parser


def parse(argv):
    return parser().parse_args(argv)


def main(argv):
    options = parse(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    rank = os.environ.get("RANK", "0")
    if rank == "0":
        with (options.out / "calls.txt").open("a") as file:
            file.write("called\n")
    if options.fails and options.fails in (options.name, "all"):
        raise UserError(f"the data of {options.name} is not there; look for it")
    if options.recipe:
        (options.out / "recipe.txt").write_text(str(read_recipe(options.recipe, "any")))
    path = options.out / ("steps.txt" if rank == "0" else f"steps{rank}.txt")
    if options.steps and not walk(path, options.steps, deaf=options.deaf):
        return 75
    (options.out / "out.txt").write_text(f"{os.environ.get('WORLD_SIZE', 1)} {os.environ.get('OMP_NUM_THREADS')}\n")
    return None


def walk(path, steps, *, deaf=0):
    """Take the steps that are left; False if a signal came and was heard, with the steps so far in ``path``."""
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    signal.signal(signal.SIGUSR2, lambda *_: stop.append(True))
    for step in range(int(path.read_text()) if path.exists() else 0, steps):
        print(f"step {step + 1} of {steps}", file=sys.stderr, flush=True)
        time.sleep(0.05)
        path.write_text(str(step + 1))
        if len(stop) > deaf:
            return False
    return True
