"""When a folder is another run's: never unnoticed, and never because of a run that left nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from runtime import folder_lock, run_guard
from runtime.command_line import UserError

RUN = {"protocol": "demo", "weights_sha256": "0123456789ab" + "0" * 52, "settings": {"lr": 0.1}}
Guard = partial(run_guard.RunGuard, outputs=("checkpoint.pth", "kept/step-*.pth"))
HOLD = "import sys, time; from pathlib import Path; from runtime import folder_lock\n"
HOLD += "folder_lock.lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"


@pytest.fixture
def folder(tmp_path):
    """Of ``RUN``, which has come as far as a checkpoint."""
    (tmp_path / run_guard.FILE).write_text(json.dumps(RUN))
    (tmp_path / "checkpoint.pth").touch()
    yield tmp_path
    folder_lock.release(tmp_path)


def test_the_same_run_goes_on_and_another_one_is_told_what_differs(folder):
    guard = Guard(folder=folder)
    guard.check(RUN)
    other = RUN | {"weights_sha256": "", "settings": {"lr": 0.2, "epochs": 3}}
    words = r"weights_sha256 \(there 0123456789ab, here ''\); lr \(there 0.1, here 0.2\); epochs \(there None, here 3\)"
    with pytest.raises(UserError, match=f"is the folder of another run: {words}; choose another --out"):
        guard.check(other)
    with pytest.raises(UserError, match="e .there None, here 1.; and 2 more; choose"):
        guard.check(RUN | dict.fromkeys("abcdefg", 1))


def test_settings_that_are_free_or_younger_than_the_run_are_no_difference(folder):
    younger = RUN | {"settings": {"lr": 0.3, "warmup": 5}}
    Guard(folder=folder, free=["settings.lr"], defaults={"settings.warmup": 5}).check(younger)
    with pytest.raises(UserError, match=r"another run: warmup \(there 0, here 5\)"):
        Guard(folder=folder, free=["settings.lr"], defaults={"settings.warmup": 0}).check(younger)


def test_a_run_that_left_nothing_has_no_claim_and_files_of_nobody_are_not_touched(folder):
    (folder / "checkpoint.pth").unlink()
    Guard(folder=folder).check(RUN | {"protocol": "other"})
    (folder / run_guard.FILE).unlink()
    (folder / "kept").mkdir()
    (folder / "kept" / "step-1.pth").touch()
    with pytest.raises(UserError, match="a kept/step-1.pth of unknown origin .no run.json.; choose another --out"):
        Guard(folder=folder).check(RUN)
    Guard(folder=folder, recover=lambda: RUN).check(RUN)


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"protocol": ', b"\x00\xff", b"[" * 3000])
def test_a_damaged_record_is_named_and_recovered_where_something_else_says_the_same(folder, content):
    (folder / run_guard.FILE).write_bytes(content)
    with pytest.raises(UserError, match=f"{folder / run_guard.FILE}.*; restore it, or choose another --out"):
        Guard(folder=folder).claim(RUN)
    Guard(folder=folder, recover=lambda: RUN).claim(RUN)
    assert run_guard.read(folder) == RUN
    with pytest.raises(UserError, match="another run: protocol"):
        Guard(folder=folder).check(RUN | {"protocol": "other"})


def test_a_folder_where_a_file_belongs_is_refused_before_anything_is_computed(tmp_path):
    (tmp_path / "checkpoint.pth").mkdir()
    with pytest.raises(UserError, match="checkpoint.pth is a folder, and a run writes a file there; move it away"):
        Guard(folder=tmp_path).claim(RUN)


def test_what_a_killed_run_leaves_is_its_own_and_a_stranger_s_file_is_not(tmp_path):
    guard = Guard(folder=tmp_path, exclusive=True)
    (tmp_path / f".{run_guard.FILE}.77.tmp").write_text("{")
    (tmp_path / folder_lock.LOCK).write_text("")
    guard.claim(RUN)
    guard.release()
    assert [path.name for path in tmp_path.iterdir()] == [run_guard.FILE]
    (tmp_path / run_guard.FILE).unlink()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="not empty and holds no run .no run.json, but thesis.tex."):
        guard.check(RUN)


def test_a_second_writer_is_refused_until_the_first_is_gone_however_that_ends(folder):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"in use by another run .process {holder.pid} on {os.uname().nodename}"):
        Guard(folder=folder).claim(RUN)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    Guard(folder=folder).claim(RUN)
    Guard(folder=folder).claim(RUN)  # the process that holds it


def test_a_lock_is_not_inherited_and_a_removed_folder_is_noticed(folder):
    with folder_lock.locked(folder):
        child = os.fork()
        if not child:
            time.sleep(30)
            os._exit(0)
        folder_lock.check_held(folder)
    try:
        code = (
            "import sys; from pathlib import Path; from runtime import folder_lock; folder_lock.lock(Path(sys.argv[1]))"
        )
        assert subprocess.run([sys.executable, "-c", code, str(folder)]).returncode == 0
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with folder_lock.locked(folder):
        (folder / folder_lock.LOCK).unlink()
        with pytest.raises(UserError, match="was removed or replaced"):
            folder_lock.check_held(folder)


def test_a_lock_of_another_node_is_waited_for(folder, monkeypatch, capsys):
    monkeypatch.setattr(folder_lock, "OTHER_NODE_S", 0.0)
    monkeypatch.setattr(folder_lock, "_try", lambda file: ("node7", 42))
    with pytest.raises(UserError, match="process 42 on node7"):
        folder_lock.lock(folder)
