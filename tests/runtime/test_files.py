"""A file is whole or not there, and nobody's leavings stay."""

import os
import socket
import subprocess
import sys

import pytest

from runtime.files import DAY_S, replacing, write_text


def test_what_dead_writers_left_goes_and_what_live_ones_write_stays(tmp_path):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    host, path = socket.gethostname(), tmp_path / "a [1].json"
    names = {
        "dead": f".{path.name}.{host}-{done.pid}.tmp",
        "live": f".{path.name}.{host}-{os.getppid()}.tmp",
        "elsewhere": f".{path.name}.other-{done.pid}.tmp",
        "old": f".{path.name}.4711.tmp",
    }
    for name in names.values():
        (tmp_path / name).write_text("part")
    os.utime(tmp_path / names["old"], (0, DAY_S))
    write_text(path, "whole")
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, names["live"], names["elsewhere"]}


def test_a_failure_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "a") as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["old"]
