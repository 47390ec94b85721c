"""What somebody published is read without running it, without believing it, and without filling the memory."""

import argparse
import builtins
import codecs
import collections
import datetime
import errno
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from runtime.command_line import UserError
from transfer import convert
from transfer.checkpoints import read


class History:
    """As mmengine's HistoryBuffer: arrays, and methods pickled by name."""

    def __init__(self):
        self.values, self.methods = np.arange(3.0), {"mean": History.mean}

    def mean(self):
        raise AssertionError("a stand-in was called")


class Settings(dict):
    """As the attribute dictionaries of Lightning and VISSL."""


TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.half": torch.ones(2, dtype=torch.float16)}


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_classes_become_their_fields(tmp_path, zipped):
    content = {
        "state_dict": TENSORS,
        "args": argparse.Namespace(lr=0.1, folder=Path("/data")),
        "hyper_parameters": OmegaConf.create({"method": "simclr", "crops": [1, 2]}),
        "message_hub": {"loss": History()},
        "settings": Settings(depth=50),
        "counts": collections.defaultdict(dict, {"x": 1}),
        "metric": np.float64(71.5),
        "names": np.array(["cat", None], dtype=object),
        "saved": datetime.datetime(2020, 7, 1),
        "callbacks": {History: 3},
    }
    torch.save(content, tmp_path / "file.pth", _use_new_zipfile_serialization=zipped)
    file = read.read(tmp_path / "file.pth")
    assert file.kind == ("torch file" if zipped else "torch file from before 1.6")
    assert all(torch.equal(file.content["state_dict"][name], tensor) for name, tensor in TENSORS.items())
    assert vars(file.content["args"])["lr"] == 0.1 and not isinstance(file.content["args"], argparse.Namespace)
    assert file.content["settings"]["depth"] == 50 and file.content["counts"] == {"x": 1}
    assert file.content["metric"] == 71.5 and list(file.content["names"]) == ["cat", None]
    assert file.content["saved"].year == 2020
    assert np.array_equal(vars(file.content["message_hub"]["loss"])["values"], np.arange(3.0))
    assert {"argparse.Namespace", "omegaconf.dictconfig.DictConfig"} <= set(file.stand_ins)


@pytest.mark.parametrize("note", range(0, 256, 8))
def test_safetensors_are_read_whatever_the_length_of_their_header(tmp_path, note):
    """The first byte of the file is that length; 128 is also how a pickle begins."""
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"note": "x" * note})
    assert torch.equal(read.read(tmp_path / "model.safetensors").content["a.half"], TENSORS["a.half"])


def test_safetensors_and_pickled_arrays_are_read(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors")
    file = read.read(tmp_path / "model.safetensors")
    assert file.kind == "safetensors file" and torch.equal(file.content["a.weight"], TENSORS["a.weight"])
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": {"a": np.ones(3)}}))
    assert read.read(tmp_path / "w.pkl").content["model"]["a"].sum() == 3


def _calls(function, *arguments):
    return type("Trap", (), {"__reduce__": lambda self: (function, arguments)})()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("trap", "name"),
    [
        (_calls(os.system, "touch ran"), "posix.system"),
        (_calls(builtins.eval, "open('ran', 'w')"), "eval"),
        (_calls(builtins.exec, "open('ran', 'w')"), "exec"),
        (_calls(subprocess.Popen, ["touch", "ran"]), r"\w+.Popen"),
        (_calls(getattr, _calls(__import__, "os"), "system"), "__import__"),
        (_calls(torch.load, "other.pth"), "torch.serialization.load"),
    ],
)
def test_what_wants_to_run_is_named_and_not_run(tmp_path, monkeypatch, trap, name, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": TENSORS, "args": trap}, "file.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=f"file.pth wants to run {name} when opened") as caught:
        read.read("file.pth")
    assert "\n" not in str(caught.value) and not Path("ran").exists()


def test_a_whole_pickled_network_is_no_checkpoint(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pth")
    with pytest.raises(UserError, match="a whole pickled object .torch.nn.modules.linear.Linear"):
        read.read(tmp_path / "network.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds a list"):
        read.read(tmp_path / "list.pth")


def test_a_torchscript_archive_is_code(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "network.pt")
    with pytest.raises(UserError, match="is a TorchScript archive, which is code as well as weights"):
        read.read(tmp_path / "network.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_a_truncated_file_is_one_line(tmp_path, zipped, part):
    path = tmp_path / "file.pth"
    torch.save({"state_dict": {"a": torch.rand(1000)}}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(UserError, match="truncated.*copied completely"):
        read.read(path)


def test_a_legacy_file_that_lacks_a_tensor_it_speaks_of_is_damaged(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    key = re.findall(rb"\d{9,}", content)[-1]
    at = content.rindex(key)
    path.write_bytes(content[:at] + b"7" * len(key) + content[at + len(key) :])
    with pytest.raises(UserError, match="damaged or truncated"):
        read.read(path)


def test_a_class_whose_name_no_python_has_is_no_checkpoint(tmp_path):
    for number, name in enumerate((b"\x00orch._utils\n_rebuild", b"to rch\nTensor", b"\xff\nTensor")):
        path = tmp_path / f"{number}.pth"
        _zip_of(b"\x80\x02c" + name + b"\n.", path)
        with pytest.raises(UserError, match=f"{number}.pth"):
            read.read(path)


@pytest.mark.parametrize("content", [b"", b"hello, world", b"PK\x03\x04 cut off", b"\x1f\x8b gzip", b"\x80\x02}q\x00"])
def test_what_is_no_checkpoint_is_one_line(tmp_path, content):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(UserError, match="is not a checkpoint|is no Detectron2 weight file"):
        read.read(tmp_path / "file.pth")
    with pytest.raises(UserError, match="no checkpoint at"):
        read.read(tmp_path / "none.pth")


GIB = 1 << 30


def _denied(*_, **__):
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("inspect", [True, False])
@pytest.mark.parametrize(
    ("name", "forbidden", "message"),
    [
        ("net.pth", "open", "net.pth cannot be read .Permission denied.; give"),
        ("net.pth", "is_file", "net.pth cannot be read .Permission denied.; give"),  # in a folder that nobody may enter
        (f"{'n' * 300}.pth", "", "nnn.pth cannot be read .File name too long.; give"),
    ],
)
def test_a_source_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch, name, forbidden, message, inspect):
    (tmp_path / "net.pth").write_bytes(b"")
    if forbidden:
        monkeypatch.setattr(Path, forbidden, _denied)
    with pytest.raises(UserError, match=message):
        convert.main(["--inspect", str(tmp_path / name)] if inspect else [str(tmp_path / name), "backbone.pkl"])


@pytest.mark.parametrize("array", [np.ones(3, ">f4"), np.ones(3, np.longdouble)], ids=["big-endian", "longdouble"])
def test_numbers_that_torch_has_not_are_one_line(tmp_path, array):
    np.savez(tmp_path / "vit.npz", **{"Transformer/encoderblock_0/bias": array, "embedding/kernel": np.ones(3)})
    for words in (["--inspect", str(tmp_path / "vit.npz")], [str(tmp_path / "vit.npz"), str(tmp_path / "vit.pkl")]):
        with pytest.raises(UserError, match="encoderblock_0/bias holds .* expected this machine's float32; save it so"):
            convert.main(words)
    assert [path.name for path in tmp_path.iterdir()] == ["vit.npz"]


def _zip_that_unfolds(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1000))
        archive.filelist[0].file_size = 3 * GIB  # what the directory at the end will claim


def _zip_of_a_huge_tensor(path: Path) -> None:
    class Storage:
        pass

    class Claims:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Storage(), 0, (64 * GIB,), (1,), False, collections.OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", 64 * GIB) if isinstance(value, Storage) else None

    pickled = io.BytesIO()
    Pickler(pickled, protocol=2).dump({"a": Claims()})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        archive.writestr("archive/data/0", bytes(64))
        archive.writestr("archive/version", "3\n")


SCALAR = np.float32(0).__reduce__()[0]
ARRAY = _calls(np.ndarray, (GIB // 8,), "O")


class Chain:
    """Text in hexadecimal, again and again: each round doubles it."""

    def __init__(self, rounds: int):
        self.rounds = rounds

    def __reduce__(self):
        inner = Chain(self.rounds - 1) if self.rounds else b"x"
        return codecs.encode, (inner, "hex")


def _zip_of(pickled: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")


def _packed_zeros(path: Path) -> None:
    """A file of torch.save whose records were packed: 3 MB that unfold to 3 GB."""
    pickled = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, pickled)
    with zipfile.ZipFile(pickled) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for record in plain.infolist():
            if not record.filename.endswith("/data.pkl"):
                packed.writestr(record.filename, plain.read(record))
        with packed.open("archive/data.pkl", "w", force_zip64=True) as file:
            for _ in range(1024):
                file.write(bytes(1 << 20))


CLAIMS = {
    "pretrain-bytes.pth": lambda path: torch.save({"a": _calls(bytearray, 2 * GIB)}, path),
    "pretrain-packed.pth": _packed_zeros,
    "unfolds.pth": _zip_that_unfolds,
    "tensor.pth": _zip_of_a_huge_tensor,
    "legacy.pth": lambda path: path.write_bytes(read.LEGACY_TORCH + b"\x80\x02X\xff\xff\xff\xffx"),
    "memo.pkl": lambda path: path.write_bytes(b"\x80\x02}r" + struct.pack("<I", 2**26) + b"."),
    "array.pkl": lambda path: path.write_bytes(pickle.dumps({"a": ARRAY}, protocol=4)),
    "array.pth": lambda path: torch.save({"a": ARRAY}, path),
    "bytes.pkl": lambda path: path.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 2 * GIB) + b"x."),
    "bytes.pth": lambda path: torch.save({"a": _calls(bytearray, 2 * GIB)}, path),
    "hexadecimal.pkl": lambda path: path.write_bytes(pickle.dumps({"a": Chain(32)}, protocol=2)),
    "hexadecimal.pth": lambda path: torch.save({"a": Chain(32)}, path),
    "scalar.pkl": lambda path: path.write_bytes(pickle.dumps(_calls(SCALAR, np.dtype(f"V{2 * GIB - 1}")))),
    "sets.pkl": lambda path: path.write_bytes(b"\x80\x04" + b"\x8f" * 3_000_000 + b"."),
    "sets.pth": lambda path: _zip_of(b"\x80\x02" + b"}" * 3_000_000 + b".", path),
    "header.safetensors": lambda path: path.write_bytes(struct.pack("<Q", 2 * GIB) + b"{" + bytes(50)),
    "headers.safetensors": lambda path: path.write_bytes(struct.pack("<Q", 2**60) + b"{" + bytes(50)),
}

MEASURE = """
import resource, sys
from runtime.command_line import UserError
from pretrain.checkpoints import checkpoint
from transfer.checkpoints import read
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
for path in sys.argv[1:]:
    try:
        (checkpoint if "pretrain" in path else read).read(path)
    except UserError as error:
        print("refused", error)
print(peak() - before)
"""


@pytest.mark.slow
def test_a_file_that_claims_gigabytes_does_not_take_them(tmp_path):
    """1 GiB and more out of at most 3 MB; read in a process of its own, whose peak memory is measured."""
    for name, write in CLAIMS.items():
        write(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *(tmp_path / name for name in CLAIMS)],
        capture_output=True, text=True, cwd=Path(__file__).resolve().parents[3], timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *refusals, grown = done.stdout.splitlines()
    assert len(refusals) == len(CLAIMS) and all(line.startswith("refused") for line in refusals), done.stdout
    assert "claims to unfold to 3.2 GB" in done.stdout
    assert int(grown) < 400, f"{grown} MiB more than before"
