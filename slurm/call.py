"""Run one job from its call.json, without submitit: what a batch script of --export-sbatch calls.

srun python -m slurm.call runs/jobs/JOB/call.json
"""

import argparse
from pathlib import Path

from runtime import typed_json
from runtime.command_line import Parser, UserError, run
from runtime.job_records import FILES, Call
from slurm.running.stage_call import StageCall


def parser() -> Parser:
    parser = Parser(prog="call.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("call", type=Path, metavar="CALL", help="the call.json of a job")
    return parser


def parse(argv: list[str] | None) -> argparse.Namespace:
    return parser().parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    path = parse(argv).call
    call = typed_json.read(path, Call, FILES[Call][1])
    if call is None:
        raise UserError(f"{path} does not exist; it is written by slurm/run_all.py --export-sbatch")
    return StageCall(module=call.module, argv=call.argv, cwd=call.cwd, home=call.home)()


if __name__ == "__main__":
    run(main)
