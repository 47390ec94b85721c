"""log.jsonl after an interruption: what the checkpoint does not know is done again, and damage costs its own line."""

import json

import pytest

from runtime.command_line import UserError
from runtime.jsonl_log import Log


@pytest.mark.parametrize(
    "tail",
    [b'{"step": 3}\n{"step": 2, "lo', b"\x00" * 300, b"\xff\xfe\n", b"7\n", b'{"step": "x"}\n', b"[" * 3000 + b"\n"],
)
def test_a_resumed_log_ends_at_the_checkpoint_whatever_follows(tmp_path, tail, capsys):
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1}\n{"step": 2}\n' + tail)
    log = Log(tmp_path, step=2)
    log.write(3, {"loss": 0.5})
    log.close()
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert entries == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.5}]
    assert ("damaged lines are left out: 3" in capsys.readouterr().err) == (
        tail.count(b"\n") == 1 and b"lo" not in tail
    )


@pytest.mark.parametrize("name", ["tensorboard", "log.jsonl"])
def test_a_log_that_cannot_be_written_is_one_line(tmp_path, name):
    path = tmp_path / name
    path.mkdir() if name == "log.jsonl" else path.touch()
    with pytest.raises(UserError, match=f"cannot write .*{name}.*; remove it, or choose another --out"):
        Log(tmp_path, step=0)
