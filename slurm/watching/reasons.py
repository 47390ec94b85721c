"""Why a job failed, in one line, from what its tasks and SLURM wrote into its logs."""

import re
from pathlib import Path

from runtime import rendezvous

SAID = "error: "
"""How the suite's own errors begin."""

TASK_DIED = re.compile(
    r"srun: error: .*: tasks? [\d,-]+: (Killed|Out Of Memory|Segmentation fault|Bus error|Aborted)|oom.kill"
)
ENDED_BY_SLURM = re.compile(
    r"\*\*\* (JOB|STEP) .* (CANCELLED AT \S+ (DUE TO (?!JOB REQUEUE)[A-Z ]+)?|FAILED \(.*\) )\*\*\*"
    r"|srun: error: .*: Terminated"
)
RAISED = re.compile(r"^[A-Za-z_.]+(Error|Exception|Interrupt|Warning)\b.*")


def reason(folder: Path, job_id: str) -> str:
    """The line that says most about why job ``job_id`` with logs in ``folder`` ended; empty if there is no log.

    A task's own error goes before an exception, that before what SLURM says, that before the news that another task
    has died; and each is looked for in the logs of all tasks, since the one that failed first need not be the first.
    """
    lines, first = [], []
    for path in sorted(folder.glob(f"{job_id}_*_log.err")):
        text = path.read_text(encoding="utf-8", errors="replace")
        lines += [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
        first = first or lines[-1:]
    own = [line for line in lines if line.startswith(SAID)]
    causes = [line for line in own if rendezvous.LOST not in line]
    raised = [line for line in lines if RAISED.match(line)]
    died = [line for line in lines if TASK_DIED.search(line)]
    ended = [line for line in lines if ENDED_BY_SLURM.search(line)]
    for found in (causes, raised, died, ended, own, first):
        if found:
            return found[-1]
    return ""
