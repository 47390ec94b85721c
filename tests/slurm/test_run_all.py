"""The command line on this machine: the same words twice do no harm, and no failure goes unnamed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runtime import job_records
from runtime.command_line import UserError
from runtime.job_records import Done, Interruption, Submission
from slurm import cancel, run_all
from slurm.planning import commands
from slurm.running import runs_folder
from slurm.watching import cancellation

pytestmark = pytest.mark.slow

LOCAL = ("--cluster", "local")
DEBUG = ("--cluster", "debug")
ROW = ("--stage", "train", "--methods", "random")


def test_local_runs_every_stage_in_a_process_and_a_second_time_only_the_last(suite, capsys):
    assert suite.main(*LOCAL) == 0
    out, err = capsys.readouterr()
    assert "runs/matrix_ssl-seed0/probe/out.txt" in out
    assert "[6/6] results: done in" in err
    assert [suite.calls(name) for name in ("draw", "random-seed0/train", "results")] == [1, 1, 1]
    assert not list(Path("runs").rglob("*.pkl")), "submitit's pickles are left over"

    assert suite.main(*LOCAL) == 0
    assert "[1/6] draw: done already" in capsys.readouterr().err
    assert [suite.calls(name) for name in ("draw", "random-seed0/train", "results")] == [1, 1, 2]


def test_all_cores_go_to_one_job_and_are_shared_by_two(suite):
    cores = len(os.sched_getaffinity(0))
    assert suite.main(*LOCAL, "--stage", "draw") == 0
    assert Path("runs/draw/out.txt").read_text() == f"1 {cores}\n"
    assert suite.main(*LOCAL, "--stage", "train", "--parallel", "2") == 0
    assert Path("runs/random-seed0/train/out.txt").read_text() == f"1 {max(1, cores // 2)}\n"


def test_other_settings_do_not_count_as_done(suite):
    assert suite.main(*DEBUG) == 0
    assert suite.main(*DEBUG, "probe.name=other") == 0
    assert [suite.calls(f"random-seed0/{stage}") for stage in ("train", "probe")] == [1, 2]


def test_a_runs_folder_by_another_of_its_names_holds_the_same_work(suite):
    assert suite.main(*DEBUG) == 0
    (suite.folder / "link").symlink_to("runs")
    for name in (str(suite.folder / "runs"), "link", "link/../runs"):
        assert suite.main(*DEBUG, "--runs", name, "--redo") == 0
        assert suite.calls("random-seed0/train") == suite.calls("random-seed0/probe") == 1
    assert not (suite.folder / "runs.old").exists()


def test_finished_work_in_the_current_folder_is_set_aside_beside_it(suite, monkeypatch):
    (suite.folder / "here").mkdir()
    monkeypatch.chdir("here")
    assert suite.main(*DEBUG, "--runs", ".") == 0
    assert suite.main(*DEBUG, "--runs", ".", "--redo", "train.deaf=1") == 0
    assert list((suite.folder / "here.old" / "random-seed0").glob("train~*"))


def test_what_is_redone_takes_what_follows_with_it(suite):
    assert suite.main(*DEBUG) == 0
    Path("runs/random-seed0/train/out.txt").unlink()
    assert suite.main(*DEBUG) == 0
    assert [suite.calls(f"random-seed0/{stage}") for stage in ("train", "probe")] == [2, 2]
    assert [suite.calls(f"matrix_ssl-seed0/{stage}") for stage in ("train", "probe")] == [1, 1]


@pytest.mark.parametrize("where", [LOCAL, DEBUG], ids=["local", "debug"])
def test_a_failed_stage_stops_its_descendants_only_and_is_named_with_its_log(suite, capfd, where):
    assert suite.main(*where, "train.fails=random") == 1
    err = capfd.readouterr().err
    assert "failed: random-seed0/train" in err
    assert "error: the data of random is not there; look for it" in err
    assert "did not run, because it needs that: random-seed0/probe\n" in err
    assert suite.calls("results") == 1, "a failed cell does not cost the table"
    assert "Traceback" not in err
    assert suite.calls("matrix_ssl-seed0/probe") == 1 and suite.calls("random-seed0/probe") == 0


def start(suite, *arguments):
    """run_all in a process of its own, as a user starts it, with a stage that takes some seconds."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import conftest, pathlib; "
        "from runtime.command_line import run; "
        f"run(lambda: conftest.Suite(pathlib.Path.cwd()).main({', '.join(map(repr, arguments))}))"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_a_stopped_run_saves_and_the_same_command_goes_on(suite, number):
    arguments = (*LOCAL, *ROW, "train.steps=40")
    steps = Path("runs/random-seed0/train/steps.txt")
    process = start(suite, *arguments)
    wait_for(steps)
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    said = process.stderr.read()
    assert "saved and stopped" in said and "same command again" in said
    taken = int(steps.read_text())
    assert 0 < taken < 40 and not Path("runs/random-seed0/train/out.txt").exists()

    again = start(suite, *arguments)
    assert again.wait(timeout=60) == 0
    assert Path("runs/random-seed0/train/out.txt").exists() and suite.calls("random-seed0/train") == 2


def test_an_interrupted_stage_resumes_by_itself_when_nobody_asked_to_stop(suite, capsys):
    def interrupt():
        wait_for(Path("runs/random-seed0/train/steps.txt"))
        submission = job_records.read(Path("runs/jobs/random-seed0/train"), Submission)
        os.kill(int(submission.job_id), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert suite.main(*LOCAL, *ROW, "train.steps=20") == 0
    thread.join()
    assert "saved and stopped after 0:0" in capsys.readouterr().err
    assert suite.calls("random-seed0/train") == 2
    home = Path("runs/jobs/random-seed0/train")
    assert job_records.read(home, Done).seconds >= 1, "20 steps of 0.05 s, in two parts"
    assert job_records.read(home, Interruption).seconds > 0


@pytest.mark.slow
def test_what_is_cancelled_meanwhile_saves_and_neither_it_nor_what_needs_it_is_begun_again(suite, capsys, monkeypatch):
    monkeypatch.setattr(cancellation, "REMINDER_S", 0.5)  # the stage is deaf to the first signal, and soon done
    process = start(suite, *LOCAL, "train.steps=100", "train.deaf=1")
    wait_for(Path("runs/random-seed0/train/steps.txt"))
    assert cancel.main(["runs", "--method", "random"]) == 0
    said = capsys.readouterr().out
    assert "cancelled: random-seed0/train" in said and "1 of 2 jobs were running or in the queue; 1 more will" in said
    left = job_records.read(Path("runs/jobs/random-seed0/train"), Submission).job_id
    assert not runs_folder.is_alive(left)
    assert "cancelled: random-seed0/train, random-seed0/probe" in process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert [suite.calls(f"random-seed0/{stage}") for stage in ("train", "probe")] == [1, 0]
    assert suite.calls("matrix_ssl-seed0/probe") == suite.calls("results") == 1
    assert suite.main(*LOCAL, "train.steps=100", "train.deaf=1") == 0
    assert [suite.calls(f"random-seed0/{stage}") for stage in ("train", "probe")] == [2, 1], (
        "asked for again, it goes on"
    )


@pytest.mark.slow
def test_what_ends_well_before_it_hears_that_it_is_cancelled_is_not_called_cancelled(suite, capsys):
    process = start(suite, *LOCAL, *ROW, "train.steps=40", "train.deaf=1000")
    wait_for(Path("runs/random-seed0/train/steps.txt"))
    assert cancel.main(["runs", "--stage", "train"]) == 0
    said = capsys.readouterr().out
    assert said.index("asked to save and end: random-seed0/train") < said.index(
        "completed meanwhile: random-seed0/train"
    )
    assert "cancelled" not in said
    assert not job_records.read(Path("runs/jobs/random-seed0/train"), Submission).cancelled
    assert process.wait(timeout=60) == 0


def test_two_runs_in_one_folder_at_once_are_refused(suite):
    with runs_folder.lock(suite.runs), pytest.raises(UserError, match="runs is in use by process"):
        suite.main(*LOCAL)
    assert suite.main(*DEBUG) == 0


def test_the_jobs_of_a_killed_run_end_by_themselves_and_the_same_command_goes_on(suite):
    process = start(suite, *LOCAL, *ROW, "train.steps=300")
    wait_for(Path("runs/random-seed0/train/steps.txt"))
    process.kill()
    process.wait()
    assert suite.main(*LOCAL, *ROW, "train.steps=300") == 0
    assert suite.calls("random-seed0/train") == 2, "the first was at an end before the second began"


def test_a_dry_run_imports_nothing_heavy_and_writes_nothing(tmp_path):
    code = (
        "import sys; from slurm.run_all import main; main(sys.argv[1:]); "
        "assert not {'torch', 'submitit', 'detectron2'} & set(sys.modules), 'a heavy import'"
    )
    arguments = ["--stage", "pretrain,transfer", "--dry-run", "--cluster", "local"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "simclr-demo-seed0/pretrain" in done.stdout and not list(tmp_path.iterdir())


def test_a_sweep_is_checked_once_for_each_command_line_that_differs(tmp_path, monkeypatch):
    """Rows and seeds change only folders: what a dry run costs grows with the jobs, and little a job."""
    monkeypatch.chdir(tmp_path)
    variants = "".join(f'  "lr={k}": {{method: simsiam, settings: {{optim.lr: 0.{k + 1}}}}}\n' for k in range(5))
    Path("many.yaml").write_text(
        f"methods: [random]\nvariants:\n{variants}recipe: demo\nprotocols: [demo-fpn]\nbenchmarks: [scenes]\n"
        "embedded_data: true\n"
    )
    checked = []
    check = commands.check
    monkeypatch.setattr(commands, "check", lambda module, argv: checked.append(module) or check(module, argv))
    words = ["--stage", "pretrain,transfer", "--preset", "many.yaml", "--dry-run", "--cluster", "slurm"]
    assert run_all.main([*words, "--seeds", ",".join(map(str, range(20)))]) == 0
    assert checked.count("pretrain.train") == 5 and checked.count("transfer.train") == 2 and len(checked) <= 11


def test_all_faults_are_named_at_once_with_what_is_known():
    with pytest.raises(UserError) as first:
        run_all.main(["--stage", "pretrain,trasnfer", "--cluster", "mars", "--preset", "demos", "pretain.optim.lr=1"])
    for words in (
        "'trasnfer'; known: transfer, ",
        "'pretain'",
        "'mars'; known: auto",
        "preset 'demos'; known: ",
    ):
        assert sum(words in fault for fault in first.value.faults) == 1
    assert len(first.value.faults) == 4
    with pytest.raises(UserError) as second:
        run_all.main(
            ["--stage", "pretrain,transfer", "--preset", "imagenet-100ep", "--methods", "mocov9,simclr"]
            + ["--cluster", "slurm", "--protocols", "c4", "--benchmarks", "coco"]
        )
    for words in ("unknown method 'mocov9'", "pretrain: data.root is not set", "'c4'", "'coco'"):
        assert sum(words in fault for fault in second.value.faults) == 1, second.value.faults


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--seeds", "0,x"], "whole numbers"),
        (["--methods", "random,random"], "given twice"),
        (["--estimate"], "--gpus"),
        (["--gpus", "2"], "--estimate"),
        (["--probe", "0"], "--gpus is 0"),
        (["--no-wait"], "--no-wait is for SLURM"),
        (["pretrain.lr"], "STAGE.KEY=VALUE"),
        (["train.resources.gpus=512"], "512 GPUs and this machine has"),
    ],
)
def test_a_wrong_option_is_named(suite, arguments, words):
    with pytest.raises(UserError, match=words):
        suite.main(*LOCAL, *arguments)


def test_settings_may_stand_between_the_options(suite, capsys):
    assert suite.main("probe.name=a", "--dry-run", "train.steps=1", "--cluster", "local", "draw.name=b") == 0
    out = capsys.readouterr().out
    assert "--name a" in out and "--steps 1" in out and "--name b" in out


def test_a_job_that_is_stopped_before_its_stage_begins_has_not_failed(suite):
    process = start(suite, *LOCAL, *ROW, "train.steps=1000")
    wait_for(Path("runs/jobs/random-seed0/train/submitted.json"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    said = process.stderr.read()
    assert "random-seed0/train: saved and stopped" in said and "failed" not in said


@pytest.mark.slow
def test_a_signal_that_is_lost_while_a_job_starts_is_sent_again(suite):
    process = start(suite, *LOCAL, *ROW, "train.steps=1000", "train.deaf=1")
    wait_for(Path("runs/random-seed0/train/steps.txt"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=45) == 130
    said = process.stderr.read()
    assert said.count("stops and saves") == 1 and "random-seed0/train: saved and stopped" in said


def test_sigterm_ends_a_run_whose_stages_are_in_its_own_process(suite):
    process = start(suite, *DEBUG, *ROW, "train.steps=200")
    wait_for(Path("runs/random-seed0/train/steps.txt"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    assert suite.calls("random-seed0/train") == 1 and not Path("runs/random-seed0/train/out.txt").exists()


@pytest.mark.parametrize("script", ["run_all", "status", "cancel"])
def test_outside_the_environment_it_says_how_to_make_one(script):
    path = Path(run_all.__file__).with_name(f"{script}.py")
    done = subprocess.run([sys.executable, "-I", "-S", str(path), "runs"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and "`make setup`" in done.stderr
