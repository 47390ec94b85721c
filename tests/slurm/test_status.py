"""The table of a runs folder as a to-do list; from the folder alone where there is no SLURM."""

import json
import shutil
import time
from pathlib import Path

import pytest

from runtime.command_line import UserError
from slurm import cancel, status
from slurm.running import job_records
from slurm.watching import job_status

SLURM = ("--cluster", "slurm")
ROW = "random-seed0/train"


def standings(capsys) -> dict[str, dict]:
    capsys.readouterr()
    status.main(["runs", "--json"])
    return {one["job"]: one for one in json.loads(capsys.readouterr().out)}


def state_of(capsys) -> dict[str, str]:
    return {name: one["state"] for name, one in standings(capsys).items()}


def test_a_run_on_this_machine_is_a_table_of_what_is_done_failed_and_missing(suite, capsys):
    suite.main("--cluster", "local", "train.fails=random")
    capsys.readouterr()
    assert status.main(["runs"]) == 1
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "runs: 6 jobs: 4 done, 1 failed, 1 missing"
    assert lines[2].split() == ["train", "probe"]
    assert lines[3].split() == ["random-seed0", "failed", "missing"]
    assert lines[4].split() == ["matrix_ssl-seed0", "done", "done"]
    assert "failed: random-seed0/train: error: the data of random is not there; look for it" in out
    assert "    log: runs/jobs/random-seed0/train/" in out
    assert "    python -m tiny_stage --out runs/random-seed0/probe" in out, "the command that would fill it"


def test_the_queue_says_who_waits_and_a_cancelled_chain_is_no_failure(suite, fake_slurm, capsys):
    suite.main(*SLURM, "train.fails=random")
    assert set(state_of(capsys).values()) == {"queued"}
    status.main(["runs"])
    assert "queued: 6 (None)" in capsys.readouterr().out, "the reason is SLURM's"
    fake_slurm.run_queue()
    assert state_of(capsys) == {
        "draw": "done",
        "random-seed0/train": "failed",
        "random-seed0/probe": "cancelled",
        "matrix_ssl-seed0/train": "done",
        "matrix_ssl-seed0/probe": "done",
        "results": "done",
    }


def test_without_slurm_the_folder_is_enough(suite, fake_slurm, capsys, monkeypatch):
    suite.main(*SLURM)
    fake_slurm.run_queue()
    monkeypatch.setenv("PATH", "/nowhere")
    assert set(state_of(capsys).values()) == {"done"}
    (suite.runs / "jobs/results/done.json").unlink()
    assert standings(capsys)["results"]["detail"] == "starting when it last wrote; SLURM is silent"


def test_a_running_job_tells_its_step_and_the_time_to_go(suite, fake_slurm, capsys):
    suite.main(*SLURM, "--stage", "train", "--methods", "random")
    fake_slurm.state(fake_slurm.jobs()[1], "RUNNING")
    log = job_records.logs(suite.runs, next(j for j in jobs() if j.stage == "train"))[0]
    log.write_text("12:00:00 pretrain simclr 30/250 (12%)  1:00 gone, 7:20 to go  loss 3.1\nsome library warns\n")
    one = standings(capsys)["random-seed0/train"]
    assert (one["state"], one["detail"]) == ("running", "step 30/250, 7:20 to go")


def jobs():
    from slurm.running import graph_store

    return graph_store.recall(Path("runs"))


def test_the_hours_asked_for_are_those_that_the_cluster_lets_one_ask_for(suite, fake_slurm, capsys):
    Path("mine.yaml").write_text("executor: slurm\nhours: 0.5\n")
    suite.main("--cluster", "mine.yaml", "--stage", "train", "--methods", "random", "train.resources.gpus=2")
    assert standings(capsys)["random-seed0/train"]["gpu_hours_asked"] == 1


def test_accounting_tells_how_long_all_submissions_of_a_job_took(suite, fake_slurm, monkeypatch, capsys):
    suite.main(*SLURM, "--stage", "train", "--methods", "random", "train.fails=all", "train.resources.gpus=2")
    fake_slurm.run_queue()
    lines = "101|PREEMPTED|1800\n101|TIMEOUT|3600\n"
    Path("bin/sacct").write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    one = standings(capsys)["random-seed0/train"]
    assert one["state"] == "failed" and one["detail"].startswith("TIMEOUT: error: the data")
    assert (one["gpu_hours_asked"], one["gpu_hours_used"]) == (2, 3)
    status.main(["runs"])
    assert "GPU-hours used of those asked for: train 3.0 of 2; together 3.0 of 2" in capsys.readouterr().out


def test_work_done_by_hand_counts_and_a_moved_folder_still_tells(suite, capsys):
    suite.main("--cluster", "debug", "--stage", "train", "--methods", "random")
    shutil.rmtree("runs/jobs/random-seed0")
    assert standings(capsys)["random-seed0/train"]["detail"] == "by hand"
    Path("runs").rename("kept")
    assert status.main(["kept"]) == 0


def test_logs_are_printed_and_an_unknown_job_names_the_known(suite, capsys):
    suite.main("--cluster", "local", "--methods", "random", "train.steps=2")
    capsys.readouterr()
    status.main(["runs", "--logs", "random-seed0/train"])
    assert "step 2 of 2" in capsys.readouterr().out
    with pytest.raises(UserError, match="no job 'random' in runs; jobs: random-seed0/train, random-seed0/probe"):
        status.main(["runs", "--logs", "random"])


def test_a_folder_without_a_graph_says_who_writes_it(tmp_path):
    with pytest.raises(UserError, match="has no graph of jobs.*run_all.py"):
        status.main([str(tmp_path)])


def test_a_stopped_job_is_neither_failed_nor_running(suite, capsys):
    suite.main("--cluster", "debug", "--stage", "train", "--methods", "random")
    job = next(job for job in jobs() if job.stage == "train")
    (suite.runs / "jobs/random-seed0/train/done.json").unlink()
    log = suite.runs / "jobs/random-seed0/train/1_0_log.err"
    log.write_text("stopped at step 3 of 9; the same command goes on from there\n")
    job_records.mark_submitted(suite.runs, job, "local", "1", log=log)
    assert standings(capsys)["random-seed0/train"]["state"] == "stopped"


def test_cancel_takes_a_row_with_what_needs_it_and_leaves_the_others(suite, fake_slurm, capsys):
    suite.main(*SLURM)
    capsys.readouterr()
    assert cancel.main(["runs", "--method", "random", "--stage", "train"]) == 0
    out = capsys.readouterr().out
    assert "cancelled: random-seed0/train (job 101_0, it was queued)" in out and "random-seed0/probe" in out
    found = state_of(capsys)
    assert found["random-seed0/train"] == found["random-seed0/probe"] == "cancelled"
    assert found["matrix_ssl-seed0/train"] == found["results"] == "queued"
    assert suite.main(*SLURM) == 0
    assert found != (found := state_of(capsys)) and set(found.values()) == {"queued"}, "asked for again, it is queued"


SILENT = "echo 'Unable to contact slurm controller' >&2; exit 1"


@pytest.mark.parametrize("queue, left", [("cat state", ["101"]), (SILENT, ["100", "101"])], ids=["answers", "silent"])
def test_what_slurm_does_not_cancel_is_not_called_cancelled(suite, fake_slurm, capsys, queue, left):
    """The note is there before SLURM is told, as it may end the job at once; it goes if SLURM does not."""
    suite.main(*SLURM, "--stage", "train", "--methods", "random")
    records = {number: Path(f"runs/jobs/{name}/submitted.json") for number, name in (("100", "draw"), ("101", ROW))}
    Path("state").write_text("101|RUNNING|None\n")
    Path("bin/scancel").write_text(
        f"#!/bin/sh\ncp {records['100']} noted.json\nprintf '#!/bin/sh\\n%s\\n' \"{queue}\" > bin/squeue\n{SILENT}\n"
    )
    with pytest.raises(UserError, match="scancel: Unable to contact slurm controller"):
        cancel.main(["runs"])
    assert json.loads(Path("noted.json").read_text())["cancelled"]
    assert [number for number, path in records.items() if "cancelled" not in json.loads(path.read_text())] == left


def test_cancel_says_of_jobs_on_another_machine_that_they_are_out_of_its_reach(suite, capsys):
    suite.main("--cluster", "local", "--methods", "random", "train.fails=all")
    path = Path(f"runs/jobs/{ROW}/submitted.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "gpu7"}))
    capsys.readouterr()
    assert cancel.main(["runs"]) == 0
    words = "0 of 4 jobs were running or in the queue; 1 more were begun on gpu7; if they still run, give this command"
    assert words in capsys.readouterr().out


def test_cancel_names_what_it_does_not_know(suite, fake_slurm):
    suite.main(*SLURM)
    with pytest.raises(UserError, match="2 faults: unknown method 'x'; known: matrix_ssl, random; unknown stage 'y'"):
        cancel.main(["runs", "--method", "x", "--stage", "y"])


def test_a_thousand_rows_are_looked_at_within_three_seconds_of_a_processor(tmp_path):
    from slurm.planning.graph import build
    from slurm.planning.preset import Plan
    from slurm.running import graph_store

    plan = Plan(
        methods=("random",), seeds=tuple(range(1000)), recipe="r", protocols=("p",), benchmarks=("b",), runs=tmp_path
    )
    graph_store.remember(tmp_path, build(plan, ["transfer"]))
    began = time.process_time()
    found = job_status.look(tmp_path, graph_store.recall(tmp_path))
    assert "1002 jobs: 1002 missing" in status.text(tmp_path, found)
    assert time.process_time() - began < 3
