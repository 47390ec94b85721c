"""A feature file is whole, or named with what is wrong with it."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from analysis.extraction import feature_file
from runtime.command_line import UserError

H, Y = torch.arange(6.0).reshape(3, 2), torch.tensor([0, 0, 1])
NAMES = torch.tensor(list(b"a\nb\nc"), dtype=torch.uint8)
ABOUT = {"format": feature_file.FORMAT, "classes": ["cat", "dog"], "method": "mec"}


def _write(path, about=ABOUT, **tensors):
    whole = {"features": H, "labels": Y, "names": NAMES} | tensors
    kept = {name: value for name, value in whole.items() if value is not None}
    save_file(kept, path, metadata={"about": about if isinstance(about, str) else json.dumps(about)})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "it lacks labels"),
        ({"names": NAMES[:3].clone()}, "3 rows and another number of names"),
        ({"labels": torch.tensor([0, 1])}, r"3 rows and .2,. labels"),
        ({"labels": torch.tensor([0, 1, 7])}, "labels reach 7 and it has 2 classes"),
        ({"features": torch.zeros(3)}, r"its features are .3,."),
        ({"features": torch.zeros(3, 2, dtype=torch.int8)}, "of torch.int8"),
        ({"views": torch.zeros(3, 1, 2)}, r"its views are .3, 1, 2."),
        ({"about": ABOUT | {"classes": "cat"}}, "its classes is 'cat', expected list"),
        ({"about": "[" * 100_000}, "nests more than 64 levels"),
        ({"about": "{"}, "is no JSON"),
        ({"about": "[]"}, "holds no features of analysis/features.py"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        feature_file.read(_write(tmp_path / "f.safetensors", **changes))
    assert "f.safetensors" in str(caught.value) and "extract" in str(caught.value)


def test_names_with_line_breaks_and_other_bytes_come_back_one_a_row(tmp_path):
    names = ["a\nb.png", os.fsdecode(b"\xff.png"), "ü.png"]
    feature_file.write(tmp_path / "f.safetensors", H, labels=[0, 0, 1], names=names, views=None, about=ABOUT)
    assert feature_file.read(tmp_path / "f.safetensors").names == ["a\\nb.png", "\\udcff.png", "ü.png"]
