"""A weight file is read without running what is in it."""

import os
import pickle

import numpy as np
import pytest

from runtime.command_line import UserError
from transfer.checkpoints import weights


class Trap:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_and_plain_values_come_back(tmp_path, protocol):
    content = {
        "model": {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(3), "c": np.array([], np.float16)},
        "__author__": "somebody",
        "numbers": [1, 2.5, "three", np.float64(4)],
    }
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    read = weights.read(tmp_path / "w.pkl")
    assert read["numbers"] == content["numbers"]
    for name, array in content["model"].items():
        assert read["model"][name].dtype == array.dtype
        assert np.array_equal(read["model"][name], array)


def test_a_pickle_that_wants_code_is_named_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": Trap(), "__author__": "x"}))
    with pytest.raises(UserError, match=r"wants to run \w+\.system"):
        weights.read(tmp_path / "w.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no Detectron2 weight file"),
        (b"not a pickle", "no Detectron2 weight file"),
        (pickle.dumps({"model": {"a": np.zeros(99)}, "__author__": "x"})[:-40], "no Detectron2 weight file"),
        (pickle.dumps({"model": {}}), "lacks Detectron2's keys"),
        (pickle.dumps([1]), "lacks Detectron2's keys"),
        (pickle.dumps({"model": {"a": "text"}, "__author__": "x"}), "a is not an array"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_line(tmp_path, content, message):
    (tmp_path / "w.pkl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        weights.read(tmp_path / "w.pkl")


def test_a_missing_file_says_what_to_give(tmp_path):
    with pytest.raises(UserError, match=r"do not exist; give a .pkl of transfer/convert.py, or random"):
        weights.read(tmp_path / "none.pkl")


def test_the_digest_sees_names_shapes_and_values():
    base = {"a": np.zeros((2, 3), np.float32), "b": np.ones(1)}
    others = [
        {"a": np.zeros((3, 2), np.float32), "b": np.ones(1)},
        {"a": np.zeros((2, 3), np.float64), "b": np.ones(1)},
        {"c": np.zeros((2, 3), np.float32), "b": np.ones(1)},
        {"a": np.zeros((2, 3), np.float32), "b": np.zeros(1)},
    ]
    assert weights.digest(dict(reversed(base.items()))) == weights.digest(base)
    assert weights.digest(base) not in {weights.digest(other) for other in others}
