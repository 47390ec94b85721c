"""Detectron2's weight files: a pickle of {"model": name -> numpy array, "__author__", "matching_heuristics"}.

A pickle can run any code when it is opened. Detectron2 opens it trustingly; here only plain values and arrays of
numbers get through, whatever file a user brings along.
"""

import codecs
import hashlib
import pickle
import pickletools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from pretrain.checkpoints import checkpoint
from runtime.command_line import UserError
from runtime.files import replacing, sha256
from runtime.memory import growth_limited
from transfer.checkpoints.origin import checked
from transfer.checkpoints.renamed import Renamed

AUTHOR = "ssl-transfer-bench"
ABOUT = "ssl_transfer_bench"
"""The key under which the file says where its weights come from; Detectron2 passes over keys it does not know."""


def write(path: str | Path, arrays: dict[str, np.ndarray], about: dict) -> str:
    """Write ``arrays`` (Detectron2's names) and ``about`` (plain values) in Detectron2's model-zoo format.

    Returns the SHA-256 of the file, hexadecimal, which a thread computes meanwhile.
    """
    content = {"model": arrays, "__author__": AUTHOR, "matching_heuristics": True, ABOUT: about}
    with ThreadPoolExecutor(1) as thread, replacing(path) as temporary, temporary.open("wb") as file:
        hashed = _HashedFile(file, thread)
        _Pickler(hashed, protocol=5).dump(content)
    return hashed.total.hexdigest()


class _HashedFile:
    """A pickle that is written, and its SHA-256, complete when the thread is done."""

    def __init__(self, file: BinaryIO, thread: ThreadPoolExecutor):
        self.total = hashlib.sha256()
        self._file, self._thread = file, thread

    def write(self, block) -> None:
        # All steps of the pickle are protocol 4's: what is new in 5 is the pickler's way to an array's values.
        block = b"\x80\x04" + block[2:] if self._file.tell() == 0 else block
        self._thread.submit(self.total.update, block)
        self._file.write(block)


class _Pickler(pickle.Pickler):
    """Writes what protocol 4 does, but numpy's arrays from where they lie: numpy copies each of them first."""

    def reducer_override(self, value):
        if not isinstance(value, np.ndarray):
            return NotImplemented
        rebuild, arguments, (version, _, dtype, order, _) = np.empty(0, value.dtype).__reduce__()
        values = pickle.PickleBuffer(np.ascontiguousarray(value).data.toreadonly())
        return rebuild, arguments, (version, value.shape, dtype, order, values)


def write_torch(path: str | Path, renamed: Renamed, about: dict) -> str:
    """Write a network as a ``backbone.pth`` of this suite (its family's names) that Detectron2 loads as well.

    A tensor that is the same for both stands in it once, under both its names: ``state_dict`` is what the suite's
    probes and analysis read, ``model`` what Detectron2 does. Returns the SHA-256 of the file, hexadecimal.
    """
    model = {name: torch.from_numpy(array) for name, array in renamed.arrays.items()}
    scale = {key: [round(value / 255, 6) for value in about["input"][f"pixel_{key}"]] for key in ("mean", "std")}
    seen = {"order": about["input"]["order"], **scale, "stride_in_1x1": about["input"]["stride_in_1x1"]}
    content = {
        **{key: about[key] for key in ("method", "recipe", "variant", "epochs", "seed", "commit")},
        "format": checkpoint.BACKBONE,
        "config": {"backbone": {"stem": "imagenet", **renamed.record}},
        "input": seen,
        "state_dict": {name: _held(renamed, name, model) for name in renamed.state},
        "model": model,
        "matching_heuristics": True,
        ABOUT: about,
    }
    checkpoint.save(path, content)
    return sha256(path)


def _held(renamed: Renamed, name: str, model: dict[str, torch.Tensor]) -> torch.Tensor:
    """The tensor of Detectron2 that is the network's own ``name``; a copy of its own where the two differ."""
    fate = renamed.fates.get(name, {})
    if "to" in fate and fate.keys() == {"to"}:
        return model[fate["to"]]
    return renamed.state[name].detach().float().clone()


def read(path: str | Path) -> dict:
    """Read a Detectron2 ``.pkl`` that holds only arrays, strings, numbers, dictionaries and lists.

    Returns the whole dictionary. Raises UserError for a missing or truncated file, one that is not such a pickle,
    one that wants to run code (the code is named and not run), and one that garbles what it says of its origin.
    """
    if not Path(path).is_file():
        raise UserError(f"weights {path} do not exist; give a .pkl of transfer/convert.py, or random")
    content = read_plain(path)
    if not (isinstance(content.get("model"), dict) and "__author__" in content):
        raise UserError(f"{path} lacks Detectron2's keys 'model' and '__author__'; convert it with transfer/convert.py")
    if bad := [name for name, value in content["model"].items() if not isinstance(value, np.ndarray)]:
        raise UserError(f"{path}: {bad[0]} is not an array of numbers; convert the source with transfer/convert.py")
    if ABOUT in content:
        content[ABOUT] = checked(content[ABOUT], path)
    return content


def read_plain(path: str | Path) -> dict:
    """Read a pickled dictionary of arrays and plain values, whatever its keys; UserError for anything else."""
    with growth_limited(path):
        content = _unpickled(Path(path))
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__} and lacks Detectron2's keys 'model' and '__author__'")
    return content


def _unpickled(path: Path):
    try:
        with path.open("rb") as file:
            check_steps(file)
            file.seek(0)
            return _PlainUnpickler(file, encoding="latin1").load()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # a broken pickle can fail in any of a dozen ways
        raise UserError(
            f"{path} is no Detectron2 weight file ({type(error).__name__}); convert it with transfer/convert.py"
        ) from error


MOST_STEPS, MOST_OBJECTS = 2_000_000, 300_000
"""Of a pickle that is read: a step is a byte and more, an empty set is one step and 200 bytes of memory."""

OBJECTS = {"EMPTY_SET", "EMPTY_DICT", "EMPTY_LIST", "LIST", "DICT", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "REDUCE"}


def check_steps(file: BinaryIO) -> None:
    """Raise ValueError for a pickle of more steps or objects than a checkpoint has, or with an impossible memo slot.

    The unpickler would clear all the memory up to that slot. Nothing is unpickled.
    """
    objects = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        objects += opcode.name in OBJECTS
        if count > MOST_STEPS or objects > MOST_OBJECTS:
            raise ValueError(f"a pickle of more than {MOST_STEPS:,} steps or {MOST_OBJECTS:,} objects")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument and argument > count:
            raise ValueError(f"memo slot {argument} after {count} steps")


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        # numpy makes one dimension of none.
        total.update(f"{name} {array.dtype.str} {np.shape(arrays[name])}\n".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


RECONSTRUCT: Any = np.zeros(0).__reduce__()[0]
SCALAR: Any = np.float32(0).__reduce__()[0]


def _array_of_any_size(*_):
    """Stands for numpy.ndarray: named to rebuild an array that has its values, never called by numpy's own pickles."""
    raise UserError("the file wants to run numpy.ndarray when opened, and was not read any further")


def scalar(dtype: np.dtype, value):
    """numpy's own rebuilder of a scalar, which without a value makes one as large as its type says."""
    return SCALAR(dtype, value)


def _latin1(text: str, encoding: str) -> bytes:
    """How bytes are written in old pickles; other encodings make much out of little."""
    if encoding not in ("latin1", "latin-1"):
        raise UserError(f"the file wants to run _codecs.encode({encoding!r}) when opened, and was not read any further")
    return codecs.encode(text, "latin1")


class _PlainUnpickler(pickle.Unpickler):
    """Lets through what numpy needs to rebuild an array, and no other name."""

    # numpy.core became numpy._core in version 2; a file of either version must open under either.
    ALLOWED = {
        "numpy.ndarray": _array_of_any_size,
        "numpy.dtype": np.dtype,
        "numpy.multiarray._reconstruct": lambda *_: RECONSTRUCT(np.ndarray, (0,), b"b"),
        "numpy.multiarray.scalar": scalar,
        "numpy.numeric._frombuffer": np.zeros(0).__reduce_ex__(5)[0],
        "_codecs.encode": _latin1,
        "__builtin__.bytes": lambda: b"",
    }

    def find_class(self, module: str, name: str):
        known = f"{module.replace('._core', '').replace('.core', '')}.{name}"
        if known not in self.ALLOWED:
            raise UserError(f"the file wants to run {module}.{name} when opened, and was not read any further")
        return self.ALLOWED[known]
