"""The line of a failed job's logs that is shown, and states by records, whatever the logs say."""

import pytest

from runtime.rendezvous import lost
from slurm.watching.job_status import log_excerpt

KILLED = "srun: error: node1: task 1: Killed"
MISSING = "error: no folder of images at /data; give an existing one"
BUG = "RuntimeError: out of memory"
ENDED = "srun: error: node2: tasks 2-3: Terminated"
CANCELLED = "slurmstepd-node1: error: *** STEP 921.0 ON node1 CANCELLED AT 2026-11-22T07:23:04 ***"
NO_SRUN = "slurmstepd-node1: error: *** STEP 10.0 ON node1 FAILED (non-zero exit code or other failure mode) ***"
FULL = "error: cannot write runs/checkpoint.pth: No space left on device; choose another folder, or mend this one"


@pytest.mark.parametrize(
    "first, second, expected",
    [
        ([FULL, "srun: error: node1: task 0: Exited with exit code 2"], [f"error: {lost(0)}"], FULL),
        ([f"error: {lost()}", "srun: Force Terminated StepId=7.0"], [MISSING], MISSING),
        ([f"error: {lost(1)}", KILLED, CANCELLED, "srun: launch/slurm: _step_signal"], [], KILLED),
        (["Traceback (most recent call last):", BUG, ENDED], [], BUG),
        (
            ["slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 06:39 DUE TO JOB REQUEUE ***"]
            + ["slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 06:59 DUE TO NODE FAILURE ***", "srun: got SIGCONT"],
            [],
            "slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 06:59 DUE TO NODE FAILURE ***",
        ),
        (["12:00:01 pretrain 3/6", CANCELLED], ["a library warns"], CANCELLED),
        (["slurm_script: line 25: 32588 Killed srun", NO_SRUN], [f"error: {lost(0)}"], NO_SRUN),
        (["no word of ours", "the last word"], ["a library warns"], "the last word"),
    ],
)  # fmt: skip
def test_the_line_that_says_most(tmp_path, first, second, expected):
    (tmp_path / "7_0_log.err").write_text("\n".join(first))
    (tmp_path / "7_1_log.err").write_text("\n".join(second))
    (tmp_path / "8_0_log.err").write_text("error: of another job\n")
    assert log_excerpt(tmp_path, "7", consequences={f"error: {lost(k)}" for k in (None, 0, 1)}) == expected


def test_no_log_no_reason(tmp_path):
    assert log_excerpt(tmp_path, "7") == ""
