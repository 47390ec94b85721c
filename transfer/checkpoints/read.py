"""Read a checkpoint that somebody published without running anything that is in it.

Tensors come from torch's own restricted reader (``weights_only``), from safetensors, from numpy's without pickle, or
from ``weights.py``.
Published files also carry objects of classes that are not installed here (argparse's options, configurations, loggers).
They are read as empty stand-ins: their fields are kept as plain values, their class is never imported. A file that
wants a function called is refused by the function's name, and one that claims more bytes than it has is refused first.
"""

import collections
import datetime
import pathlib
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch

from pretrain.checkpoints import checkpoint
from runtime.command_line import UserError, shortened
from runtime.memory import growth_limited
from transfer.checkpoints import weights

LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch.save began a file before version 1.6: its magic number, pickled."""

MOST_STAND_INS = 100
"""More foreign classes than this are no checkpoint's options any more."""

DAMAGED = "is not a checkpoint, or a damaged or truncated one{}; was it copied completely?"
SAVE_PLAINLY = "where you trust it, load it and save only its state dict"


@dataclass(frozen=True)
class File:
    """What was read."""

    content: dict
    kind: str
    """The container, in words."""
    stand_ins: tuple[str, ...] = ()
    """Classes the file names, of which only the fields were read."""


def read(path: str | Path) -> File:
    """Read a torch file (zip or legacy), a safetensors, ``.npz`` or Detectron2 ``.pkl`` file to CPU, running no code.

    Raises UserError where there is no file, where it cannot be opened, is truncated, is none of these, claims more than
    it holds, or wants to run something.
    """
    path = Path(path)
    try:
        there = path.is_file()
        if there:
            path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give a file that you may open") from error
    if not there:
        raise UserError(
            f"no checkpoint at {path}; give the path of a .pth, .pth.tar, .ckpt, .safetensors, .npz or .pkl file"
        )
    with growth_limited(path):
        return _read(path)


def _read(path: Path) -> File:
    with path.open("rb") as file:
        start = file.read(len(LEGACY_TORCH))
    if start.startswith(b"PK"):
        if _is_npz(path):
            return _read_npz(path)
        _check_records(path)
        return _read_torch(path, "torch file", mmap=True)
    if start == LEGACY_TORCH:
        _check_legacy(path)
        return _read_torch(path, "torch file from before 1.6", mmap=False)
    # safetensors begins with the length of its header in 8 bytes, and 128 looks like the start of a pickle.
    if start[8:9] == b"{" and (start[4:8] == bytes(4) or not start.startswith(b"\x80")):
        return _read_safetensors(path)
    if start.startswith(b"\x80"):
        return File(weights.read_plain(path), "pickle of arrays")
    raise UserError(
        f"{path} is not a checkpoint, or a damaged one (it begins with {start[:8]!r}); was it copied completely?"
    )


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


PACKED = 4
"""How many times its own size a packed archive of weights unfolds to at most; floating point hardly packs."""


def _read_npz(path: Path) -> File:
    """numpy's archive of arrays; one of objects, which numpy would unpickle, is refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            claimed, held = sum(record.file_size for record in archive.infolist()), path.stat().st_size
        if claimed > PACKED * held + (1 << 20):
            raise UserError(
                f"{path} claims to unfold to {claimed / 1e9:.1f} GB from {held / 1e9:.3f} GB, so it is not weights and "
                f"was not read"
            )
        with np.load(path, allow_pickle=False) as archive:
            return File({name: archive[name] for name in archive.files}, "npz archive of arrays")
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a damaged file can fail in any of a dozen ways
        raise UserError(f"{path} {DAMAGED.format(f' ({shortened(str(error), 60)})')}") from error


def _check_records(path: Path) -> None:
    """torch stores its records as they are, so none is larger than the file; a packed one may unfold to anything."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            for record in records:
                if record.filename.endswith("/data.pkl") and record.compress_type == zipfile.ZIP_STORED:
                    with archive.open(record) as file:
                        weights.check_steps(file)  # pyright: ignore[reportArgumentType]
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path} {DAMAGED.format('')}") from error
    if any(record.filename.endswith("/constants.pkl") for record in records):
        raise UserError(f"{path} is a TorchScript archive, which is code as well as weights; {SAVE_PLAINLY}")
    claimed, held = sum(record.file_size for record in records), path.stat().st_size
    if claimed > held or any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise UserError(
            f"{path} claims to unfold to {claimed / 1e9:.1f} GB from {held / 1e9:.3f} GB; torch packs nothing, so this "
            f"is no checkpoint of torch.save and was not read"
        )


def _check_legacy(path: Path) -> None:
    """Such a file is five pickles, the fourth of them the content, then the numbers of the tensors."""
    try:
        with path.open("rb") as file:
            for _ in range(5):
                weights.check_steps(file)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        raise UserError(f"{path} {DAMAGED.format('')}") from error


def _read_torch(path: Path, kind: str, *, mmap: bool) -> File:
    stand_ins: dict[str, type] = {}
    while True:
        known = [(function, name) for name, function in (HARMLESS | stand_ins).items()]
        try:
            with torch.serialization.safe_globals([*known, *NUMPY_DTYPES]):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
            break
        except pickle.UnpicklingError as error:
            name = _class_to_stand_in_for(path, str(error), error)
            if name in stand_ins or len(stand_ins) == MOST_STAND_INS:
                raise UserError(f"{path} cannot be read without its own code ({name}); {SAVE_PLAINLY}") from error
            stand_ins |= {name: _stand_in(name), f"builtins.{name}": _stand_in(name)}
        except UserError as error:
            raise UserError(f"{path} {error}") from error
        except MemoryError:
            raise
        except Exception as error:  # a damaged file can fail in any of a dozen ways
            raise UserError(f"{path} {DAMAGED.format('')}") from error
    names = tuple(sorted(name for name in stand_ins if not name.startswith("builtins.")))
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a checkpoint's dict; save a state dict")
    if not content and names:
        raise UserError(f"{path} holds a whole pickled object ({names[0]} ...), not its tensors; {SAVE_PLAINLY}")
    if content.get("format") in (checkpoint.BACKBONE, checkpoint.CHECKPOINT):
        checkpoint.verify(content, path)
    return File(content, kind, names)


def _class_to_stand_in_for(path: Path, message: str, error: Exception) -> str:
    """The foreign name that torch's reader stopped at; UserError for what no stand-in can help."""
    wanted = re.search(r"Unsupported (?:global: GLOBAL|class) (\S+)", message)
    if wanted and wanted[1].isprintable():
        return wanted[1]
    if wanted := re.search(r"unsupported GLOBAL (\S+)|unrecognized function (.+)", message):
        raise UserError(f"{path} {_refusal(wanted[1] or wanted[2].strip())}") from error
    raise UserError(f"{path} {DAMAGED.format('')}") from error


def _refusal(name: str) -> str:
    return f"wants to run {name} when opened, and was not read any further; {SAVE_PLAINLY}"


class _NeverCalled(type):
    """A pickle makes an object without calling its class; what it does call is a function it wants to run."""

    def __call__(cls, *_, **__):
        raise UserError(_refusal(cls.__name__))


def _stand_in(name: str) -> _NeverCalled:
    # An OrderedDict is the one object that torch's reader lets a file fill with items and with attributes.
    return _NeverCalled(name, (), {"__new__": lambda cls, *_: collections.OrderedDict()})


def _inert_getattr(owner, name: str) -> _NeverCalled:
    """mmengine pickles methods of its classes by name."""
    return _stand_in(f"{getattr(owner, '__name__', 'object')}.{name}")


class _Array(np.ndarray):
    """An array whose values are in the file. Called as a class, numpy.ndarray makes one of any size out of nothing."""

    def __new__(cls, *_, **__):
        raise UserError(_refusal("numpy.ndarray"))


HARMLESS = {
    "builtins.getattr": _inert_getattr,
    "collections.defaultdict": lambda *_: {},
    "datetime.date": datetime.date,
    "datetime.datetime": datetime.datetime,
    "datetime.timedelta": datetime.timedelta,
    **{
        f"{module}.{kind}": pathlib.PurePosixPath
        for module in ("pathlib", "pathlib._local")
        for kind in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    },
    **{
        # numpy.core became numpy._core in version 2; a file of either version must open under either.
        name: function
        for core in ("core", "_core")
        for name, function in (
            (f"numpy.{core}.multiarray.scalar", weights.scalar),
            (f"numpy.{core}.multiarray._reconstruct", lambda *_: weights.RECONSTRUCT(_Array, (0,), b"b")),
        )
    },
    "numpy.ndarray": _Array,
    "numpy.dtype": np.dtype,
}
"""What a file may have called: functions that only put a value together."""

NUMPY_DTYPES = sorted(
    {type(np.dtype(code)) for code in "?bhilqBHILQefd"} | {np.dtypes.StrDType, np.dtypes.ObjectDType}, key=str
)


def _read_safetensors(path: Path) -> File:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path} is a damaged safetensors file ({shortened(str(error), 80)}); was it copied completely?"
        ) from error
    return File(content, "safetensors file")
