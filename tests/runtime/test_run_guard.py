"""When a folder is another run's: never unnoticed, and never because of a run that left nothing."""

import json

import pytest

from runtime import run_guard
from runtime.command_line import UserError

RUN = {"protocol": "demo", "weights_sha256": "0123456789ab" + "0" * 52, "settings": {"lr": 0.1}}
BEGUN = ("checkpoint.pth", "result.json")


@pytest.fixture
def folder(tmp_path):
    """Of ``RUN``, which has come as far as a checkpoint."""
    (tmp_path / run_guard.FILE).write_text(json.dumps(RUN))
    (tmp_path / "checkpoint.pth").touch()
    return tmp_path


def test_the_same_run_goes_on_and_another_one_is_told_what_differs(folder):
    run_guard.check(folder, RUN, begun=BEGUN)
    other = RUN | {"weights_sha256": "", "settings": {"lr": 0.2, "epochs": 3}}
    words = r"weights_sha256 \(there 0123456789ab, here ''\); lr \(there 0.1, here 0.2\); epochs \(there None, here 3\)"
    with pytest.raises(UserError, match=f"is the folder of another run: {words}; choose another --out"):
        run_guard.check(folder, other, begun=BEGUN)
    with pytest.raises(UserError, match="e .there None, here 1.; and 2 more; choose"):
        run_guard.check(folder, RUN | dict.fromkeys("abcdefg", 1), begun=BEGUN)


def test_a_run_that_left_nothing_has_no_claim_and_files_of_nobody_are_not_touched(folder):
    (folder / "checkpoint.pth").unlink()
    run_guard.check(folder, RUN | {"protocol": "other"}, begun=BEGUN)
    (folder / run_guard.FILE).unlink()
    (folder / "result.json").touch()
    with pytest.raises(UserError, match="a result.json of unknown origin .no run.json.; choose another --out"):
        run_guard.check(folder, RUN, begun=BEGUN)
