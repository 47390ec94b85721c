"""The graph as plain batch scripts and one shell script that submits them: for a login node without Python.

submit.sh only chains and records what was written; what is in the queue already is looked at when it is written.
"""

import json
import shlex
import socket
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from runtime import files, job_records
from runtime.command_line import UserError
from runtime.job_graph import Job
from slurm.submitting import batch_script, queued_jobs, submit
from slurm.submitting.arrays import Group
from slurm.submitting.cluster import Cluster

HEAD = """\
#!/bin/sh
# Submits {count} jobs in a chain, once. Needs sbatch, mkdir, env and sed; the runs folder has to be there.
set -eu
cd -- "$(dirname -- "$0")"
mkdir submitted 2>/dev/null || {{ echo "submitted already; to do it again, remove $PWD/submitted" >&2; exit 1; }}

# What belongs to the job that this may run in: sbatch would pass it on, and srun obey it.
for name in $(env | sed -n 's/^\\(SLURM_[A-Z0-9_]*\\)=.*/\\1/p'); do
    case $name in {site}) ;; *) unset "$name" ;; esac
done

# submit NAME DEPENDENCY HOME: send NAME.sh, note its number in HOME for slurm/status.py, and print it.
submit() {{
    if [ "$3/submitted.json" -nt submit.sh ]; then
        echo "$1 has been submitted since these scripts were written: write new ones" >&2
        return 1
    fi
    id=$(sbatch --parsable ${{2:+"--dependency=$2"}} "$1.sh")
    id=${{id%%;*}}
    sed "s/{number}/$id/g" "$1.json" > "$3/submitted.json"
    echo "$id"
}}

"""

NUMBER = "@THE-NUMBER-OF-THIS-JOB@"
"""Stands for the number of a job in the record of its submission."""


def write(
    runs: Path, jobs: Sequence[Job], *, done: Collection[str], cluster: Cluster, code: Path, folder: Path
) -> Path:
    """Write the scripts of what is not done to ``folder`` and return the path of its submit.sh.

    Every job is a script of its own: an array would need the ids of its elements before they exist. Raises UserError
    if ``folder`` holds anything, or a job is in the queue.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; give a new folder to --export-sbatch")
    todo = [job for job in jobs if job.name not in done]
    queued_jobs.refuse_queued(runs, todo)
    lines: list[str] = []

    def send(group: Group, requested: dict) -> list[str]:
        (job,) = group.jobs
        number = len(lines) + 1
        name = f"{number:04}-{job.name.replace('/', '-')}"
        note = job_records.write_call(runs, job).absolute()
        # The dependency holds the numbers of jobs that are not submitted yet: submit.sh fills it in.
        dependency = requested.pop("dependency", "")
        script = batch_script.script(note.parent, group, requested, ["-m", "slurm.call", str(note)], cluster)
        files.write_text(folder / f"{name}.sh", script)
        files.write_text(folder / f"{name}.json", record_of(job) + "\n")
        words = f'{shlex.quote(name)} "{dependency}" {shlex.quote(str(note.parent))}'
        lines.append(f"""j{number}=$(submit {words}); printf '%s\\n' {shlex.quote(job.name)}": job $j{number}\"""")
        return [f"${{j{number}}}"]

    submit.chain(todo, {}, cluster=cluster, code=code, largest=1, send=send)
    path = folder / "submit.sh"
    files.write_text(
        path, HEAD.format(count=len(todo), number=NUMBER, site=" | ".join(submit.OF_THE_SITE)) + "\n".join(lines) + "\n"
    )
    path.chmod(0o755)
    return path


def record_of(job: Job) -> str:
    """The record of a submission whose number is not known yet."""
    record = job_records.Submission(
        executor="slurm",
        job_id=NUMBER,
        host=socket.gethostname(),
        argv=job.argv,
        log=f"jobs/{job.name}/{NUMBER}_0_log.err",
    )
    return json.dumps(asdict(record))
