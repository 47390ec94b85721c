"""Run one job from its note, without submitit: what a plain batch script of --export-sbatch calls.

srun python -m slurm.call runs/jobs/JOB/call.json
"""

from pathlib import Path

from runtime import typed_json
from runtime.command_line import Parser, UserError, run
from runtime.job_records import FILES, Call
from slurm.running.stage_call import StageCall


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="call.py", description=__doc__.partition("\n")[0])
    parser.add_argument("note", type=Path, metavar="CALL", help="the call.json of a job")
    note = parser.parse_args(argv).note
    call = typed_json.read(note, Call, FILES[Call][1])
    if call is None:
        raise UserError(f"{note} does not exist; it is written by slurm/run_all.py --export-sbatch")
    return StageCall(module=call.module, argv=call.argv, cwd=call.cwd, home=call.home)()


if __name__ == "__main__":
    run(main)
