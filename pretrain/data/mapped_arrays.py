"""Arrays in one file that processes map into memory together: the format of safetensors, which others read as well."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from runtime.command_line import UserError
from runtime.files import replacing
from runtime.read import parse_json

KINDS = {"U8": np.uint8, "U32": np.uint32, "I32": np.int32, "I64": np.int64}


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the arrays and their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {len(arrays[name])}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def write(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
    """Write arrays of one dimension and what is said of them, as a whole file. Raises UserError where it cannot."""
    with replacing(path) as temporary:
        # One entry, because `save` writes several in any order; and not `save_file`, whose files others may not read.
        metadata = {"about": json.dumps({**about, "checksum": checksum(arrays)})}
        temporary.write_bytes(save(dict(arrays), metadata))


def read(path: Path, *, check: bool) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a file, mapped and not read, and what is said of them.

    Args:
        check: read all of it, and compare with its checksum.

    Raises UserError for a file that is not there, cut off or damaged.
    """
    try:
        whole = np.memmap(path, np.uint8, "r")
        length = int.from_bytes(whole[:8].tobytes(), "little")
        header = parse_json(whole[8 : 8 + length].tobytes(), path)
        about, content = parse_json(header.pop("__metadata__")["about"], path), whole[8 + length :]
        arrays = {
            name: content[slice(*entry["data_offsets"])].view(KINDS[entry["dtype"]]) for name, entry in header.items()
        }
        if any(len(arrays[name]) != entry["shape"][0] for name, entry in header.items()):
            raise ValueError("cut off")
        if not {"checksum"} <= about.keys() or not all(isinstance(text, str) for text in about.values()):
            raise ValueError("no checksum")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; the run writes it when it starts") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged or cannot be read; remove it") from error
    if check and checksum(arrays) != about["checksum"]:
        raise UserError(f"{path} is damaged (another checksum); remove it")
    return arrays, about
