"""Plain scripts and a submit.sh: the same chain, where there is no Python to submit it."""

import os
import subprocess
from pathlib import Path

import pytest

from runtime.command_line import UserError
from slurm import status

pytestmark = pytest.mark.slow

SLURM = ("--cluster", "slurm")


def submit(folder="out", *, check=True):
    return subprocess.run(
        ["sh", f"{folder}/submit.sh"], capture_output=True, text=True, check=check, env=dict(os.environ)
    )


def test_the_scripts_submit_themselves_in_a_chain_and_run_to_the_end(suite, fake_slurm, capsys):
    assert suite.main(*SLURM, "--export-sbatch", "out", "train.fails=random") == 0
    assert not fake_slurm.jobs(), "nothing is submitted yet"
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
def test_scripts_are_not_submitted_after_another_submission_of_their_jobs(suite, fake_slurm, exported):
    suite.main(*SLURM, "--export-sbatch", "out")
    if exported:
        suite.main(*SLURM, "--stage", "train", "--methods", "random", "--export-sbatch", "first")
        submit("first")
    else:
        suite.main(*SLURM, "--stage", "train", "--methods", "random")
    os.utime("out/submit.sh", (0, 0))  # a file system may know seconds alone
    assert len(fake_slurm.jobs()) == 2
    done = submit(check=False)
    assert done.returncode == 1 and "write new ones" in done.stderr and len(fake_slurm.jobs()) == 2


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
