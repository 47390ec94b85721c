"""The command line of run_all."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from runtime.command_line import Parser, UserError, numbers, words
from slurm.planning import preset
from slurm.planning.stage import Resources


def parse(argv: list[str] | None, table: Iterable[str], *, about: str) -> argparse.Namespace:
    """The command line, lists split, everything else as it was typed; ``table`` are the names of the stages."""
    names = preset.available()
    summaries = "\n".join(f"  {name:<{max(map(len, names))}} {preset.load(name).summary}" for name in names)
    parser = Parser(
        prog="run_all.py",
        description=about,
        epilog=f"presets:\n{summaries}\n\nstages: {', '.join(table)}\n\n{preset.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stage", type=words, metavar="A,B", help="stages to run, with all they imply")
    parser.add_argument("--preset", default="demo", metavar="NAME", help="what to run: a preset or a yaml file (demo)")
    parser.add_argument(
        "--methods", type=words, metavar="A,B", help="rows: methods, variants of the preset; random: from scratch"
    )
    parser.add_argument("--seeds", type=numbers, metavar="0,1", help="run each row once per seed")
    parser.add_argument("--recipe", metavar="NAME", help="how to pretrain")
    parser.add_argument("--protocols", type=words, metavar="A,B", help="how to fine-tune")
    parser.add_argument("--benchmarks", type=words, metavar="A,B", help="what to fine-tune on")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where to write (the cluster's `runs`, or runs)")
    parser.add_argument("--redo", action="store_true", help="redo what other code or settings made; see docs/slurm.md")
    parser.add_argument("--live-code", action="store_true", help="jobs run this checkout, not a copy of it")
    add_options_of_place(parser)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="STAGE.KEY=VALUE",
        help="a setting of a stage's command, or what it asks for: pretrain.optim.lr=0.5 transfer.SOLVER.BASE_LR=0.04 "
        "data.images=500 pretrain@simclr.optim.lr=0.3 (of one method) "
        f"pretrain.resources.gpus=2 (of {', '.join(Resources.__dataclass_fields__)})",
    )
    options = parser.parse_intermixed_args(argv)  # settings may stand before, between and after the options
    if not (options.stage or options.init_cluster):
        raise UserError(f"--stage is missing: what shall be run, of {', '.join(table)} (see --help)")
    return options


def add_options_of_place(parser: Parser) -> None:
    """Where and how the jobs run."""
    parser.add_argument("--cluster", default="auto", metavar="NAME", help="auto, a cluster, or a yaml file (auto)")
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="jobs at a time on this machine (1)")
    parser.add_argument("--max-running", type=int, metavar="N", help="elements of an array at a time on SLURM")
    parser.add_argument("--dry-run", action="store_true", help="print jobs, batch scripts, GPU-hours; run nothing")
    parser.add_argument(
        "--probe", type=int, metavar="N", help="run each long stage for 90 s; say when N GPUs would be through"
    )
    parser.add_argument(
        "--export-sbatch", type=Path, metavar="DIR", help="write plain scripts and a submit.sh; submit nothing"
    )
    parser.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, help="follow the jobs to their end (on SLURM: no, else: yes)"
    )
    parser.add_argument("--init-cluster", metavar="NAME", help="ask SLURM and write slurm/clusters/NAME.yaml")
