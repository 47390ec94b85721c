"""The table of a runs folder as a to-do list; from the folder alone where there is no SLURM."""

import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from runtime import job_graph, job_records
from runtime.command_line import UserError
from runtime.job_records import End
from runtime.rendezvous import lost
from slurm import cancel, status
from slurm.watching import job_status, status_text

SLURM = ("--cluster", "slurm")
ROW = "random-seed0/train"


def statuses(capsys) -> dict[str, dict]:
    capsys.readouterr()
    status.main(["runs", "--json"])
    return {one["job"]: one for one in json.loads(capsys.readouterr().out)}


def state_of(capsys) -> dict[str, str]:
    return {name: one["state"] for name, one in statuses(capsys).items()}


@pytest.mark.slow
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
    assert "failed: random-seed0/train: the data of random is not there; look for it" in out
    assert "    log: runs/jobs/random-seed0/train/" in out
    assert "    python -m tiny_stage --out runs/random-seed0/probe" in out, "the command that would fill it"


@pytest.mark.slow
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


@pytest.mark.slow
def test_without_slurm_the_folder_is_enough(suite, fake_slurm, capsys, monkeypatch):
    suite.main(*SLURM)
    fake_slurm.run_queue()
    monkeypatch.setenv("PATH", "/nowhere")
    assert set(state_of(capsys).values()) == {"done"}
    (suite.runs / "jobs/results/done.json").unlink()
    assert statuses(capsys)["results"]["detail"] == "starting, when it last wrote; SLURM is silent"


def test_a_running_job_tells_its_step_and_the_time_to_go(suite, fake_slurm, capsys):
    suite.main(*SLURM, "--stage", "train", "--methods", "random")
    fake_slurm.state(fake_slurm.jobs()[1], "RUNNING")
    record = {"label": "pretrain simclr", "done": 30, "total": 250, "elapsed_s": 60.0, "eta_s": 440.0}
    Path(f"runs/jobs/{ROW}/progress.json").write_text(json.dumps(record))
    status_of_row = statuses(capsys)[ROW]
    assert (status_of_row["state"], status_of_row["detail"]) == ("running", "step 30/250, 7:20 to go")
    status.main(["runs"])
    assert "running 30/250" in capsys.readouterr().out


def jobs():
    return job_graph.load(Path("runs"))


def test_the_hours_asked_for_are_those_that_the_cluster_lets_one_ask_for(suite, fake_slurm, capsys):
    Path("mine.yaml").write_text("executor: slurm\nhours: 0.5\n")
    suite.main("--cluster", "mine.yaml", "--stage", "train", "--methods", "random", "train.resources.gpus=2")
    assert statuses(capsys)["random-seed0/train"]["gpu_hours_asked"] == 1


def test_accounting_tells_how_long_all_submissions_of_a_job_took(suite, fake_slurm, monkeypatch, capsys):
    suite.main(*SLURM, "--stage", "train", "--methods", "random", "train.fails=all", "train.resources.gpus=2")
    fake_slurm.run_queue()
    lines = "101|PREEMPTED|1800\n101|TIMEOUT|3600\n"
    Path("bin/sacct").write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    one = statuses(capsys)["random-seed0/train"]
    assert one["state"] == "failed" and one["detail"].startswith("TIMEOUT: the data")
    assert (one["gpu_hours_asked"], one["gpu_hours_used"]) == (2, 3)
    status.main(["runs"])
    assert "GPU-hours used of those requested: train 3.0 of 2; together 3.0 of 2" in capsys.readouterr().out


def test_work_done_by_hand_counts_and_a_moved_folder_still_tells(suite, capsys):
    suite.main("--cluster", "debug", "--stage", "train", "--methods", "random")
    shutil.rmtree("runs/jobs/random-seed0")
    assert statuses(capsys)["random-seed0/train"]["detail"] == "by hand"
    Path("runs").rename("kept")
    assert status.main(["kept"]) == 0


@pytest.mark.slow
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


@pytest.fixture
def submitted(suite):
    """A job that was submitted, began and has left; no record says how it ended. Its log holds the lost-task error."""
    suite.main("--cluster", "debug", "--stage", "train", "--methods", "random")
    job = next(job for job in jobs() if job.stage == "train")
    home = suite.runs / "jobs" / ROW
    (home / "done.json").unlink()
    log = home / "1_0_log.err"
    log.write_text(f"error: {lost()}\n")
    job_records.write_submission(suite.runs, job, "local", "1", log=log)
    return home


def test_a_job_whose_log_holds_only_the_lost_task_error_is_not_called_stopped(submitted, capsys):
    """That error says how to go on, as the line of a job that saved does."""
    assert statuses(capsys)[ROW]["state"] == "lost", "no record"
    job_records.write_end(submitted, 1, End(job_id="1", exit_code=1, reason=lost(), lost_task=True))
    assert statuses(capsys)[ROW]["state"] == "failed"
    job_records.write_end(submitted, 3, End(job_id="1", exit_code=2, reason="no images at /data"))
    assert statuses(capsys)[ROW]["detail"] == "no images at /data", "the task that knows the cause"
    assert status.main(["runs"]) == 1


def test_a_job_that_saved_is_stopped_until_it_starts_again(submitted, capsys):
    (submitted / "1_0_log.err").write_text("error: any words\n")
    job_records.write_interruption(submitted, "1", 30.0)
    assert statuses(capsys)[ROW]["state"] == "stopped"
    job_records.write_start(submitted, 0, "1")
    assert statuses(capsys)[ROW]["state"] == "lost", "that start left no record of its end"


def test_a_batch_script_records_the_exit_code_of_a_killed_task(submitted, capsys):
    for code, state in ((137, "failed"), (75, "lost")):
        (submitted / "1_exit").write_text(f"{code}\n")
        assert statuses(capsys)[ROW]["state"] == state


def test_a_job_of_another_machine_runs_while_it_records_progress(submitted, capsys):
    job_records.set_cancelled(Path("runs"), ROW, False)
    record = json.loads((submitted / "submitted.json").read_text()) | {"host": "gpu7"}
    (submitted / "submitted.json").write_text(json.dumps(record))
    assert statuses(capsys)[ROW]["state"] == "lost"
    (submitted / "progress.json").write_text('{"label": "x", "done": 1, "total": 9, "elapsed_s": 1.0}')
    assert statuses(capsys)[ROW]["detail"] == "step 1/9, ? to go, on gpu7"
    os.utime(submitted / "progress.json", (1e9, 1e9))
    assert statuses(capsys)[ROW]["state"] == "lost"


@pytest.mark.parametrize("age, state", [(-3e7, "missing"), (3600, "missing"), (0, "running")])
def test_a_log_written_just_now_is_that_of_a_command_given_by_hand(suite, capsys, age, state):
    suite.main("--cluster", "debug", "--stage", "train", "--methods", "random")
    shutil.rmtree(f"runs/jobs/{ROW}")
    Path(f"runs/{ROW}/out.txt").unlink()
    log = Path(f"runs/{ROW}/log.jsonl")
    log.write_text('{"step": 5}\n{"st')
    os.utime(log, (time.time() - age,) * 2)
    one = statuses(capsys)[ROW]
    assert one["state"] == state and (state == "missing" or one["detail"] == "by hand, step 5")


@pytest.mark.parametrize("name", ["graph.json", f"{ROW}/submitted.json", f"{ROW}/done.json", f"{ROW}/ended-0.json"])
@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"argv": 3, "seconds": "x", "job_id": []}', "[" * 9999])
def test_a_damaged_record_is_named_and_deleting_it_helps(submitted, suite, capsys, name, content):
    path = Path("runs/jobs") / name
    path.write_text(content)
    with pytest.raises(UserError, match=f"{path}.*delete it"):
        status.main(["runs"])
    path.unlink()
    if name == "graph.json":
        suite.main("--cluster", "debug", "--stage", "train", "--methods", "random")
    status.main(["runs"])


def test_status_reads_a_folder_that_is_written_renamed_and_removed_meanwhile(suite, capsys):
    suite.main("--cluster", "debug", "--methods", "random")
    graph = jobs()
    stop = threading.Event()

    def change():
        while not stop.is_set():
            for job in graph:
                shutil.rmtree(f"runs/jobs/{job.name}", ignore_errors=True)
                job_records.write_submission(
                    Path("runs"), job, "local", "1", log=Path(f"runs/jobs/{job.name}/1_0_log.err")
                )
                if job.folder.exists():
                    job.folder.rename("aside")
                    Path("aside").rename(job.folder)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            status_text.text(Path("runs"), job_status.job_statuses(Path("runs"), graph))
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_cancel_takes_a_row_with_what_needs_it_and_leaves_the_others(suite, fake_slurm, capsys):
    suite.main(*SLURM)
    capsys.readouterr()
    assert cancel.main(["runs", "--methods", "random", "--stage", "train"]) == 0
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
    """The record is written before scancel, which may end the job at once; it is taken back if SLURM refuses."""
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


@pytest.mark.slow
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
    with pytest.raises(UserError, match="unknown method 'x'; known: matrix_ssl, random\nunknown stage 'y'"):
        cancel.main(["runs", "--methods", "x", "--stage", "y"])


def test_the_cost_of_a_status_grows_with_its_jobs_alone(tmp_path, monkeypatch):
    """One opened file and one look a job that was never begun; nothing that grows with the square."""
    from slurm.planning.experiment import Experiment
    from slurm.planning.graph import build

    plan = Experiment(
        methods=("random",), seeds=tuple(range(200)), recipe="r", protocols=("p",), benchmarks=("b",), runs=tmp_path
    )
    job_graph.save(tmp_path, build(plan, ["transfer"]))
    reads = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read_bytes(path))
    statuses = job_status.job_statuses(tmp_path, job_graph.load(tmp_path))
    assert "202 jobs: 202 missing" in status_text.text(tmp_path, statuses)
    assert len(reads) <= 2 * 202 + 1
