"""A weight file is read without running what is in it."""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from runtime.command_line import UserError
from transfer.checkpoints import weights
from transfer.checkpoints.renamed import array, check_values
from transfer.detection.checkpointer import Checkpointer


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
    for name, values in content["model"].items():
        assert read["model"][name].dtype == values.dtype
        assert np.array_equal(read["model"][name], values)


def test_what_is_written_is_numpys_own_pickle_and_its_hash(tmp_path):
    """Arrays are written from where they lie, the file is what pickle.dump writes."""
    arrays = {"large": np.arange(99_999, dtype=np.float32).reshape(3, -1), "one": np.array(3.0), "int": np.arange(4)}
    total = weights.write(tmp_path / "w.pkl", arrays, {"method": "mae"})
    about = {"__author__": weights.AUTHOR, "matching_heuristics": True, weights.ABOUT: {"method": "mae"}}
    written = (tmp_path / "w.pkl").read_bytes()
    assert written == pickle.dumps({"model": arrays, **about}, protocol=4)
    assert total == hashlib.sha256(written).hexdigest()


@pytest.mark.parametrize("values", [[np.inf, -np.inf], [np.nan, 1], [-np.inf, 1]])
def test_a_value_that_is_not_finite_is_found_and_large_ones_are_not_taken_for_it(values):
    check_values(Path("w.pth"), {"a": torch.full((9,), 6e4, dtype=torch.float16)})
    with pytest.raises(UserError, match="1 tensors hold NaN or infinity, the first b"):
        check_values(Path("w.pth"), {"a": torch.ones(2), "b": torch.tensor(values)})


def test_a_parameter_without_dimensions_arrives(tmp_path):
    """numpy makes one dimension of none, and Detectron2 passes over a tensor of another shape (NFNet's gains)."""
    assert array(torch.tensor(0.7)).shape == ()
    weights.write(tmp_path / "w.pkl", {"gain": array(torch.tensor(0.75))}, {})
    network = torch.nn.Module()
    network.gain = torch.nn.Parameter(torch.tensor(0.0))
    Checkpointer(network).load_weights(weights.read(tmp_path / "w.pkl"))
    assert network.gain.item() == 0.75


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
        {"a": np.zeros((2, 3), np.float32), "b": np.array(1.0)},
        {"a": np.zeros((2, 3), np.float64), "b": np.ones(1)},
        {"c": np.zeros((2, 3), np.float32), "b": np.ones(1)},
        {"a": np.zeros((2, 3), np.float32), "b": np.zeros(1)},
    ]
    assert weights.digest(dict(reversed(base.items()))) == weights.digest(base)
    assert weights.digest(base) not in {weights.digest(other) for other in others}
