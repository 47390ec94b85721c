"""sbatch, squeue and their kin of a SLURM whose queue is a folder and whose jobs run on request.

``FAKE_SLURM/<id>/`` holds a job's ``script`` and its ``state``. ``run_queue()`` runs what may run, in order.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path


def queue() -> Path:
    return Path(os.environ["FAKE_SLURM"])


def jobs() -> list[Path]:
    """Folders ``<id>``, or ``<id>_<k>`` of an array's elements, in the order of submission."""
    return sorted(queue().glob("*"), key=lambda path: [int(part) for part in path.name.split("_")])


def script(job_id: str) -> str:
    return (queue() / job_id / "script").read_text()


def state(job: Path, new: str = "") -> str:
    if new:
        (job / "state").write_text(new)
    return (job / "state").read_text()


def option(job: Path, name: str, default: str = "") -> str:
    found = re.search(rf"^#SBATCH --{name}=(.*)$", script(job.name), re.MULTILINE)
    return found[1] if found else default


def run_queue(*, signal: str = "", which: int = 12) -> None:
    """Run every job whose dependencies ended well; remove those whose never will.

    Signal ``which`` goes to the first job, once the file ``signal`` is there.
    """
    while pending := [job for job in jobs() if state(job) == "PENDING"]:
        job = pending[0]
        if any(state(need) in ("FAILED", "CANCELLED") for need in needs(job)):
            state(job, "CANCELLED")
            continue
        state(job, "RUNNING")
        number, _, element = job.name.partition("_")
        place = {"SLURM_JOB_ID": number, "SLURM_JOB_NUM_NODES": option(job, "nodes", "1"), "FAKE_SIGNAL": signal}
        place["FAKE_NUMBER"] = str(int(which))
        if element:
            place |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": element}
            place["SLURM_JOB_ID"] = f"{number}{int(element):03}"
        place["SLURM_NTASKS"] = str(int(option(job, "nodes", "1")) * int(option(job, "ntasks-per-node", "1")))
        ended = subprocess.run(["bash", str(job / "script")], env=os.environ | place, check=False)
        signal = ""
        if state(job) == "RUNNING":  # not put back into the queue meanwhile
            state(job, "FAILED" if ended.returncode else "COMPLETED")


def needs(job: Path) -> list[Path]:
    """The jobs that have to end well before ``job``; it comes after all that it waits for anyhow."""
    found = []
    for part in option(job, "dependency").split(","):
        kind, *ids = part.split(":")
        if kind == "aftercorr":
            found += [queue() / f"{ids[0]}_{job.name.partition('_')[2]}"]
        elif kind == "afterok":
            found += [queue() / number for number in ids]
    return found


def srun(arguments: list[str]) -> int:
    """Start the tasks side by side, their output in the files named, and return the worst code."""
    logs = [arguments[arguments.index(name) + 1] for name in ("--output", "--error")]
    command = arguments[next(k for k, word in enumerate(arguments) if word.endswith("python") or "/python3" in word) :]
    folder = next((word.removeprefix("--chdir=") for word in arguments if word.startswith("--chdir=")), None)
    tasks = []
    for rank in range(int(os.environ["SLURM_NTASKS"])):
        place = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_STEP_NODELIST": "localhost"}
        names = {"%j": "SLURM_JOB_ID", "%A": "SLURM_ARRAY_JOB_ID", "%a": "SLURM_ARRAY_TASK_ID"}
        task_logs = [name.replace("%t", str(rank)) for name in logs]
        for pattern, variable in names.items():
            task_logs = [name.replace(pattern, os.environ.get(variable, "")) for name in task_logs]
        with Path(task_logs[0]).open("a") as out, Path(task_logs[1]).open("a") as err:
            tasks.append(subprocess.Popen(command, env=os.environ | place, stdout=out, stderr=err, cwd=folder))
    if os.environ["FAKE_SIGNAL"]:
        wait_for = Path(os.environ["FAKE_SIGNAL"])
        while not wait_for.exists():
            time.sleep(0.02)
        tasks[0].send_signal(int(os.environ["FAKE_NUMBER"]))
    codes = [task.wait() for task in tasks]
    return max(128 - code if code < 0 else code for code in codes)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    if name == "sbatch":
        number = str(100 + len({job.name.partition("_")[0] for job in jobs()}))
        text = Path(arguments[-1]).read_text()
        for word in arguments[:-1]:  # what is said on the command line counts as said in the script
            if word.startswith("--dependency"):
                text += f"\n#SBATCH {word}\n"
        array = re.search(r"^#SBATCH --array=0-(\d+)", text, re.MULTILINE)
        for folder in [f"{number}_{k}" for k in range(int(array[1]) + 1)] if array else [number]:
            (queue() / folder).mkdir(parents=True)
            (queue() / folder / "script").write_text(text)
            state(queue() / folder, "PENDING")
        print(number if "--parsable" in arguments else f"Submitted batch job {number}")
    elif name == "squeue":
        asked = re.search(r"--jobs=(\S+)", " ".join(arguments))[1].split(",")
        found = [job for job in jobs() if {job.name, job.name.partition("_")[0]} & set(asked)]
        alive = [job for job in found if state(job) in ("PENDING", "RUNNING", "COMPLETING")]
        lone = "--format=%T" in arguments
        print("\n".join(state(job) if lone else f"{job.name}|{state(job)}|None" for job in alive))
    elif name == "scontrol" and "show" in arguments:
        preempted = os.environ.get("FAKE_PREEMPTED", "None")
        shown = state(queue() / arguments[-1]) if preempted == "None" else "SIGNALING"
        print(f"JobId=1 JobState={shown} Reason=None PreemptTime={preempted} Restarts=0")
    elif name == "scontrol":
        state(queue() / arguments[1], "PENDING")
    elif name == "scancel":
        for number in arguments:
            state(queue() / number, "CANCELLED")
    elif name == "sacct":
        sys.exit("sacct: error: Slurm accounting storage is disabled")
    elif name == "srun":
        sys.exit(srun(arguments))
