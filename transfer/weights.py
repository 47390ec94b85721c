"""Detectron2's weight files: a pickle of {"model": name -> numpy array, "__author__", "matching_heuristics"}.

A pickle can run any code when it is opened. Detectron2 opens it trustingly; here only plain values and arrays of
numbers get through, whatever file a user brings along.
"""

import codecs
import hashlib
import pickle
from pathlib import Path

import numpy as np

from pretrain.command_line import UserError
from pretrain.files import replacing

AUTHOR = "ssl-transfer-bench"
ABOUT = "ssl_transfer_bench"
"""The key under which the file says where its weights come from; Detectron2 passes over keys it does not know."""


def write(path: str | Path, arrays: dict[str, np.ndarray], about: dict) -> None:
    """Write ``arrays`` (Detectron2's names) and ``about`` (plain values) in Detectron2's model-zoo format."""
    content = {"model": arrays, "__author__": AUTHOR, "matching_heuristics": True, ABOUT: about}
    with replacing(path) as temporary, temporary.open("wb") as file:
        pickle.dump(content, file, protocol=4)


def read(path: str | Path) -> dict:
    """Read a Detectron2 ``.pkl`` that holds only arrays, strings, numbers, dictionaries and lists.

    Returns the whole dictionary. Raises UserError for a missing or truncated file, one that is not such a pickle,
    and one that wants to run code (the code is named and not run).
    """
    try:
        with Path(path).open("rb") as file:
            content = _PlainUnpickler(file, encoding="latin1").load()
    except FileNotFoundError as error:
        raise UserError(f"weights {path} do not exist; give a .pkl of transfer/convert.py, or random") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # a broken pickle can fail in any of a dozen ways
        raise UserError(
            f"{path} is no Detectron2 weight file ({type(error).__name__}); convert it with transfer/convert.py"
        ) from error
    if not (isinstance(content, dict) and isinstance(content.get("model"), dict) and "__author__" in content):
        raise UserError(f"{path} lacks Detectron2's keys 'model' and '__author__'; convert it with transfer/convert.py")
    if bad := [name for name, value in content["model"].items() if not isinstance(value, np.ndarray)]:
        raise UserError(f"{path}: {bad[0]} is not an array of numbers; convert the source with transfer/convert.py")
    return content


def digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


class _PlainUnpickler(pickle.Unpickler):
    """Lets through what numpy needs to rebuild an array, and no other name."""

    # numpy.core became numpy._core in version 2; a file of either version must open under either.
    ALLOWED = {
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "numpy.multiarray._reconstruct": np.zeros(0).__reduce__()[0],
        "numpy.multiarray.scalar": np.float32(0).__reduce__()[0],
        "numpy.numeric._frombuffer": np.zeros(0).__reduce_ex__(5)[0],
        "_codecs.encode": codecs.encode,
        "__builtin__.bytes": bytes,
    }

    def find_class(self, module: str, name: str):
        known = f"{module.replace('._core', '').replace('.core', '')}.{name}"
        if known not in self.ALLOWED:
            raise UserError(f"the file wants to run {module}.{name} when opened, and was not read any further")
        return self.ALLOWED[known]
