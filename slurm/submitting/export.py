"""The graph as plain batch scripts and one shell script that submits them: for a login node without Python."""

import json
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path

from runtime import files, job_records
from runtime.command_line import UserError
from runtime.job_graph import Job
from slurm.submitting import arrays, sbatch
from slurm.submitting.arrays import Group
from slurm.submitting.cluster import Cluster

HEAD = """\
#!/bin/sh
# Submits {count} jobs in a chain, once. Needs sbatch, squeue, mkdir, sed and tr; {runs} has to be there.
set -eu
cd "$(dirname "$0")"
mkdir submitted 2>/dev/null || {{ echo "submitted already; to do it again, remove $PWD/submitted" >&2; exit 1; }}

# FILE PATTERN: what the group in PATTERN stands for in the record of a job, where that has no white space.
said() {{ [ ! -e "$1" ] || tr -d ' \\n' < "$1" | sed -n "s/.*$2.*/\\1/p"; }}
words='"argv":\\(.*\\],"log"\\)'

# NAME DEPENDENCY HOME: submit NAME.sh, note its number in HOME for slurm/status.py, and print it; of a job that another
# submission has put into the queue, only print it.
submit() {{
    id=$(said "$3/submitted.json" '"executor":"slurm","job_id":"\\([^"]*\\)"')
    if [ "$id" ] && [ "$(squeue --noheader --jobs="$id" 2>/dev/null)" ]; then
        if [ "$(said "$1.json" "$words")" != "$(said "$3/submitted.json" "$words")" ]; then
            echo "$1 is in the queue as job $id with other settings: scancel $id, rmdir $PWD/submitted, start again" >&2
            return 1
        fi
        echo "$1 is in the queue as job $id already" >&2
        echo "$id"
        return
    fi
    id=$(sbatch --parsable ${{2:+"--dependency=$2"}} "$1.sh")
    id=${{id%%;*}}
    sed "s/@ID@/$id/g" "$1.json" > "$3/submitted.json"
    echo "$id"
}}

"""


def write(runs: Path, jobs: Sequence[Job], *, done: set[str], cluster: Cluster, code: Path, folder: Path) -> Path:
    """Write the scripts of what is not done to ``folder`` and return the path of its submit.sh.

    Every job is a script of its own: an array would need the ids of its elements before they exist. Raises UserError
    if ``folder`` holds anything.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; give a new folder to --export-sbatch")
    todo = [job for job in jobs if job.name not in done]
    lines, ids = [], {}
    for number, job in enumerate(todo, start=1):
        name = f"{number:03}-{job.name.replace('/', '-')}"
        note = job_records.write_call(runs, job).absolute()
        one = Group(jobs=[job])
        command = f"{sbatch.python_of(cluster)} -u -m slurm.call {shlex.quote(str(note))}"
        asked = sbatch.parameters(job, cluster, code=code)
        files.write_text(folder / f"{name}.sh", sbatch.script(runs, one, asked, command))
        files.write_text(folder / f"{name}.json", record_of(job) + "\n")
        after = arrays.dependency(one, {}, ids)
        variable = f"j{number}"
        home = shlex.quote(str(note.parent))
        lines += [f'{variable}=$(submit {shlex.quote(name)} "{after}" {home}); echo "{job.name}: job ${variable}"']
        ids[job.name] = f"${{{variable}}}"
    path = folder / "submit.sh"
    files.write_text(path, HEAD.format(count=len(todo), runs=runs.absolute()) + "\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


def record_of(job: Job) -> str:
    """What `job_records.write_submission` writes, with @ID@ for the number."""
    log = f"jobs/{job.name}/@ID@_0_log.err"
    return json.dumps(
        {"executor": "slurm", "job_id": "@ID@", "host": socket.gethostname(), "argv": list(job.argv), "log": log}
    )
