"""Whatever bytes a checkpoint is made of, it is read or refused in a UserError; renaming loses no name."""

import json
import pickle
import struct
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.command_line import UserError
from transfer.checkpoints import openmmlab, read, resnet
from transfer.checkpoints.find_backbone import find_trunk
from transfer.checkpoints.renaming.resnet import from_sequential, to_detectron2, to_torchvision

FUZZ = settings(max_examples=40, suppress_health_check=list(HealthCheck))


def _read_or_refuse(path: Path) -> None:
    try:
        found = find_trunk(read.read(path).content, path)
        resnet.check(path, {new: found.tensors[name] for name, new in found.names.items()})
    except UserError as error:
        assert len(error.faults) == 1


@FUZZ
@given(
    content=st.binary(max_size=200),
    kind=st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"PK\x03\x04", read.LEGACY_TORCH]),
)
def test_any_bytes_are_read_or_refused(tmp_path, content, kind):
    (tmp_path / "file.pth").write_bytes(kind + content)
    _read_or_refuse(tmp_path / "file.pth")


HEADER = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "a"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@FUZZ
@given(header=HEADER, tail=st.binary(max_size=16))
def test_any_header_of_a_safetensors_file_is_read_or_refused(tmp_path, header, tail):
    text = json.dumps({"conv1.weight": header}).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + tail)
    _read_or_refuse(tmp_path / "m.safetensors")


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4),
    max_leaves=10,
)


@FUZZ
@given(value=st.dictionaries(st.sampled_from(["model", "state_dict", "meta", "format", "epoch", "input"]), PLAIN))
def test_any_plain_content_is_described_or_refused(tmp_path, value):
    for name, written in (("w.pkl", pickle.dumps(value)), ("w.pth", None)):
        if written is None:
            torch.save(value, tmp_path / name)
        else:
            (tmp_path / name).write_bytes(written)
        _read_or_refuse(tmp_path / name)
    openmmlab.origin(value)


@FUZZ
@given(text=st.text(max_size=200) | st.builds("model = dict(type={!r}, a=[{!r}])".format, st.text(max_size=9), PLAIN))
def test_any_configuration_text_is_parsed_without_an_error(text):
    openmmlab.origin({"meta": {"cfg": text}})


NAMES = st.builds(
    "layer{}.{}.{}".format,
    st.integers(1, 4),
    st.integers(0, 99),
    st.builds("{}{}.{}".format, st.sampled_from(["conv", "bn"]), st.integers(1, 3), st.sampled_from(["weight", "bias"]))
    | st.builds("downsample.{}.{}".format, st.integers(0, 1), st.sampled_from(["weight", "running_mean"])),
) | st.builds("{}.{}".format, st.sampled_from(["conv1", "bn1"]), st.sampled_from(["weight", "running_var"]))


@FUZZ
@given(names=st.lists(NAMES, unique=True))
def test_renaming_is_one_to_one_and_has_an_inverse(names):
    renamed = [to_detectron2(name) for name in names]
    assert [to_torchvision(name) for name in renamed] == names
    assert len(set(renamed)) == len(names)


def test_every_tensor_of_a_resnet50_goes_there_and_back_and_none_is_numbered_by_mistake():
    for name in resnet.expected_shapes():
        assert to_torchvision(to_detectron2(name)) == name
        assert from_sequential(name).startswith("(foreign)")
