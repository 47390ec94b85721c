"""When a job that was asked to end queues itself again, and when that would only repeat a failure."""

import signal
import subprocess

import pytest

from runtime import stopping
from slurm.running import stage_call


@pytest.fixture
def slurm(monkeypatch):
    """SLURM's commands, answered from a table; returns the calls that were made."""

    def answers(**table):
        calls = []

        def ask(*command):
            calls.append(command[:2])
            return subprocess.CompletedProcess(command, 0, stdout=table.get(command[0], ""), stderr="")

        monkeypatch.setattr(stage_call, "ask", ask)
        return calls

    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(stage_call.shutil, "which", lambda name: f"/usr/bin/{name}")  # a machine with SLURM
    return answers


@pytest.mark.parametrize(
    "number, tasks, state, preempted, requeued",
    [
        (signal.SIGUSR2, 4, "RUNNING", "PreemptTime=None", True),  # the time limit is near
        (signal.SIGTERM, 4, "RUNNING", "PreemptTime=2026-11-22T06:36:15", True),
        (signal.SIGTERM, 4, "SIGNALING", "PreemptTime=2026-11-22T06:36:15", True),  # SIGCONT comes first
        (signal.SIGTERM, 4, "RUNNING", "PreemptTime=None", False),
        (signal.SIGTERM, 4, "RUNNING", "", False),  # srun ends the others when one task has failed: it would for ever
        (signal.SIGTERM, 1, "RUNNING", "PreemptTime=None", True),  # there is no other
    ],
)
def test_a_job_whose_other_task_failed_is_not_queued_again(
    monkeypatch, slurm, number, tasks, state, preempted, requeued
):
    monkeypatch.setattr(stopping, "latest_signal", number)
    monkeypatch.setenv("SLURM_NTASKS", str(tasks))
    calls = slurm(squeue=f"{state}\n", scontrol=f"JobId=5 JobState={state} {preempted} Restarts=0\n")
    ends = []
    with pytest.raises(SystemExit):
        stage_call.requeue(0, lambda code, reason, lost_task: ends.append(lost_task))
    assert (("scontrol", "requeue") in calls) == requeued
    assert ends == ([] if requeued else [True]), "recorded as the death of another task"


@pytest.mark.parametrize("reason, requeued", [("TimeLimit", True), ("None", False)])
def test_a_job_that_saved_at_its_time_limit_is_queued_again_and_one_that_was_cancelled_is_not(slurm, reason, requeued):
    calls = slurm(squeue="COMPLETING\n", scontrol=f"JobId=5 JobState=COMPLETING Reason={reason} PreemptTime=None\n")
    with pytest.raises(SystemExit):
        stage_call.requeue(0, None)
    assert (("scontrol", "requeue") in calls) == requeued


def test_a_process_inside_an_array_of_its_user_has_its_own_id(monkeypatch):
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "100")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert stage_call.current_job_id() == "4711"


def test_the_other_tasks_of_a_cancelled_job_do_not_stay_until_they_are_killed(monkeypatch, slurm):
    """They outlast a job that runs, as the first task may still queue it again, and a SLURM that is silent."""
    answers, pauses = ["RUNNING", "", "SIGNALING", "COMPLETING"], []
    calls = slurm()
    monkeypatch.setattr(stage_call, "state_of", lambda job_id: answers.pop(0))
    monkeypatch.setattr(stage_call.time, "sleep", pauses.append)
    with pytest.raises(SystemExit) as end:
        stage_call.requeue(1, None)
    assert end.value.code == stage_call.INTERRUPTED and not answers and pauses == [10, 60, 60, 60]
    assert not calls, "it asks for no place in the queue"
