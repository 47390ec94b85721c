"""Which checkpoints stay, and that a damaged newest one costs no more than the steps since the one before."""

import pytest
import torch

from pretrain.checkpoints.retention import Checkpoints, row_variant
from runtime.command_line import UserError


def saved(folder, steps, **rule) -> Checkpoints:
    checkpoints = Checkpoints(folder, **rule)
    for step in steps:
        checkpoints.save({"step": step, "weights": torch.full((1000,), float(step))})
    return checkpoints


def names(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "rule, older",
    [
        ({"keep_last": 1}, []),
        ({"keep_last": 2}, [8]),
        ({"keep_last": 3}, [6, 8]),
        ({"keep_last": 1, "keep_every": 4}, [4, 8]),
        ({"keep_last": 2, "keep_every": 6}, [6, 8]),
    ],
)
def test_the_newest_stay_and_one_every_so_often(tmp_path, rule, older):
    saved(tmp_path, [2, 4, 6, 8, 10], **rule)
    assert names(tmp_path) == ["checkpoint.pth"] + [f"checkpoints/step-{step:06d}.pth" for step in older]
    assert Checkpoints(tmp_path).read()["step"] == 10


def test_a_complete_run_keeps_the_last_and_those_for_good(tmp_path):
    saved(tmp_path, [2, 4, 6, 8], keep_last=3, keep_every=4).finish()
    assert names(tmp_path) == ["checkpoint.pth", "checkpoints/step-000004.pth"]
    saved(tmp_path / "other", [2, 4], keep_last=3).finish()
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["checkpoint.pth"]


def test_what_was_kept_for_good_stays_under_another_keep_every(tmp_path):
    """The same command without log.keep_every returns at once, and used to remove them all."""
    first = Checkpoints(tmp_path, keep_last=3, keep_every=4)
    for step in (2, 4, 6, 8, 10):
        first.save({"step": step, "config": {"log": {"keep_every": 4}}})
    again = Checkpoints(tmp_path, keep_last=1)
    again.read()
    again.save({"step": 12, "config": {"log": {"keep_every": 0}}})
    Checkpoints(tmp_path).finish()
    assert names(tmp_path) == ["checkpoint.pth", "checkpoints/step-000004.pth", "checkpoints/step-000008.pth"]
    assert Checkpoints(tmp_path).stale() == []


def test_a_truncated_newest_falls_back_to_the_one_before_and_says_so(tmp_path, capsys):
    saved(tmp_path, [2, 4, 6], keep_last=2)
    newest = tmp_path / "checkpoint.pth"
    newest.write_bytes(newest.read_bytes()[:1500])
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    assert checkpoints.read()["step"] == 4
    said = capsys.readouterr().err
    assert "checkpoint.pth" in said and "truncated" in said and "going on from step-000004.pth" in said
    checkpoints.save({"step": 6})
    assert names(tmp_path) == ["checkpoint.pth", "checkpoints/step-000004.pth"], "the damaged one is not kept"
    assert checkpoints.read()["step"] == 6


def test_nothing_readable_is_an_error_and_not_a_fresh_start(tmp_path):
    assert Checkpoints(tmp_path).read() is None
    (tmp_path / "checkpoint.pth").write_bytes(b"torn")
    with pytest.raises(UserError, match="no older one to go on from"):
        Checkpoints(tmp_path).read()


def test_a_write_that_fails_leaves_everything_as_it_was(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, [2, 4])

    def full(content, file):
        file.write(b"half")
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("unexpected pos 20001600 vs 20001552") from error.with_traceback(None)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        checkpoints.save({"step": 6})
    assert names(tmp_path) == ["checkpoint.pth", "checkpoints/step-000002.pth"]
    assert Checkpoints(tmp_path).read()["step"] == 4


def test_a_kept_checkpoint_is_a_variant_and_the_last_one_is_the_run():
    kept = "runs/byol-demo-seed0/pretrain/checkpoints/step-000064.pth"
    assert row_variant(kept, "") == "step=64"
    assert row_variant(kept, "gamma=0.3") == "gamma=0.3, step=64"
    assert row_variant("runs/byol-demo-seed0/pretrain/checkpoint.pth", "gamma=0.3") == "gamma=0.3"


def test_a_changed_byte_is_noticed_and_a_file_without_checksum_still_read(tmp_path, capsys):
    saved(tmp_path, [2, 4])
    path = tmp_path / "checkpoint.pth"
    content = torch.load(path, weights_only=True)
    for changed in ({**content, "step": 5}, {**content, "weights": content["weights"].half()}, {**content, "new": 1}):
        torch.save(changed, path)
        assert Checkpoints(tmp_path).read()["step"] == 2
        assert "checkpoint.pth is damaged: its checksum" in capsys.readouterr().err
    torch.save({"step": 6}, path)
    assert Checkpoints(tmp_path).read() == {"step": 6}
