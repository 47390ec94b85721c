"""Plain scripts and a submit.sh: the same chain, where there is no Python to submit it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from runtime.command_line import UserError
from slurm import status

SLURM = ("--cluster", "slurm")


def submit(folder="out", *, check=True):
    return subprocess.run(
        ["sh", f"{folder}/submit.sh"], capture_output=True, text=True, check=check, env=dict(os.environ)
    )


def test_the_scripts_submit_themselves_in_a_chain_and_run_to_the_end(suite, fake_slurm, capsys):
    assert suite.main(*SLURM, "--export-sbatch", "out", "train.fails=random") == 0
    assert not fake_slurm.jobs(), "nothing is submitted yet"
    assert "python" not in Path("out/submit.sh").read_text().lower().replace("without python", "")
    said = submit().stdout
    assert "random-seed0/train: job 101" in said
    assert "--dependency=afterok:100\n" in fake_slurm.script("101")
    assert "--dependency=afterany:100:101:102:103:104\n" in fake_slurm.script("105")
    fake_slurm.run_queue()
    capsys.readouterr()
    assert status.main(["runs"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("runs: 6 jobs: 4 done, 1 cancelled, 1 failed")
    assert "the data of random is not there" in out


def test_submitting_twice_by_mistake_submits_nothing(suite, fake_slurm):
    suite.main(*SLURM, "--export-sbatch", "out")
    submit()
    again = submit(check=False)
    assert again.returncode == 1 and "submitted already" in again.stderr and len(fake_slurm.jobs()) == 6


@pytest.mark.parametrize("exported", [True, False])
def test_what_another_submission_has_put_into_the_queue_is_waited_for(suite, fake_slurm, exported):
    suite.main(*SLURM, "--export-sbatch", "out")
    if exported:
        suite.main(*SLURM, "--stage", "train", "--methods", "random", "--export-sbatch", "first")
        submit("first")
    else:
        suite.main(*SLURM, "--stage", "train", "--methods", "random")
    assert len(fake_slurm.jobs()) == 2
    done = submit()
    assert "draw is in the queue as job 100 already" in done.stderr and "random-seed0/train: job 101" in done.stdout
    assert len(fake_slurm.jobs()) == 6, "the other four"
    assert "--dependency=afterok:101\n" in fake_slurm.script("102")
    fake_slurm.run_queue()
    assert suite.calls("random-seed0/train") == 1 and {fake_slurm.state(job) for job in fake_slurm.jobs()} == {
        "COMPLETED"
    }


def test_the_process_of_an_earlier_run_on_this_machine_is_taken_for_no_job(suite, fake_slurm):
    suite.main("--cluster", "local", "--stage", "draw")
    path = Path("runs/jobs/draw/submitted.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"job_id": "100"}))
    suite.main(*SLURM, "draw.name=other", "--export-sbatch", "out")
    Path("queue/100").mkdir(parents=True)  # somebody else's
    for name, text in (("state", "RUNNING"), ("script", "")):
        Path(f"queue/100/{name}").write_text(text)
    assert "random-seed0/train: job 102" in submit().stdout


def test_what_is_in_the_queue_with_other_settings_stops_the_script(suite, fake_slurm):
    suite.main(*SLURM, "--export-sbatch", "out")
    suite.main(*SLURM, "--export-sbatch", "other", "draw.name=a b")
    submit("other")
    done = submit(check=False)
    assert done.returncode == 1 and len(fake_slurm.jobs()) == 6
    assert "draw is in the queue as job 100 with other settings: scancel 100, rmdir " in done.stderr


def test_what_was_submitted_by_hand_is_not_submitted_again(suite, fake_slurm, capsys):
    suite.main(*SLURM, "--export-sbatch", "out")
    submit()
    assert suite.main(*SLURM) == 0
    assert len(fake_slurm.jobs()) == 6


def test_what_is_in_the_queue_is_not_written_to_be_submitted_once_more(suite, fake_slurm):
    assert suite.main(*SLURM) == 0
    with pytest.raises(UserError, match="draw is in the queue as job 100"):
        suite.main(*SLURM, "--export-sbatch", "out")
    assert not Path("out").exists()


def test_a_folder_that_holds_something_is_left_alone(suite, fake_slurm):
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine\n")
    with pytest.raises(UserError, match="out is not empty"):
        suite.main(*SLURM, "--export-sbatch", "out")
    with pytest.raises(UserError, match="--export-sbatch needs a --cluster whose executor is slurm"):
        suite.main("--cluster", "local", "--export-sbatch", "new")
