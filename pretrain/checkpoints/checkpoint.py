"""The two files a run leaves: ``checkpoint.pth`` to resume from, ``backbone.pth`` to hand over.

Both hold tensors, numbers, strings, lists and dicts only, and are read without running any code:

    checkpoint.pth   format, method, recipe, variant, epochs, seed, commit, config, step, model, optimizer, torch_rng,
                     device_rng (of a GPU), unreadable, images, checksum
    backbone.pth     format, method, recipe, variant, epochs, seed, commit, config, input, state_dict, checksum

``model`` has the keys of the method's network (``backbone.conv1.weight``, ``teacher.``...); ``state_dict`` has
torchvision's names without ``fc``: 265 tensors and 53 ``num_batches_tracked`` for ResNet-50. ``checksum`` is that
of all else (`checksum`), checked whenever the file is read; files of older versions have none.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.data.views import IMAGENET_MEAN, IMAGENET_STD
from runtime.command_line import UserError
from runtime.files import replacing
from runtime.memory import growth_limited

CHECKPOINT = "ssl-transfer-bench/checkpoint/1"
BACKBONE = "ssl-transfer-bench/backbone/1"


def save(path: str | Path, content: dict) -> None:
    """Write a dict of tensors and plain values with its checksum, as a whole or not at all."""
    with replacing(path) as temporary:
        write(temporary, content)


def write(path: Path, content: dict) -> None:
    """Write a dict of tensors and plain values with its checksum; a full disk is an OSError, as with any other file."""
    try:
        with path.open("wb") as file:
            torch.save({**content, "checksum": checksum(content)}, file)
    except RuntimeError as error:  # torch hides why a write failed behind where in its archive it did
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def checksum(content: dict) -> str:
    """BLAKE2b of the names and values of a dict of tensors and plain values, hexadecimal, without its own entry."""
    digest = hashlib.blake2b(digest_size=16)

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {list(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, Mapping):
            digest.update(f"dict {len(value)}".encode())
            for key in sorted(value, key=repr):
                digest.update(repr(key).encode())
                add(value[key])
        elif isinstance(value, (list, tuple)):
            digest.update(f"list {len(value)}".encode())
            for entry in value:
                add(entry)
        else:
            digest.update(repr(value).encode(errors="surrogatepass"))

    add({key: value for key, value in content.items() if key != "checksum"})
    return digest.hexdigest()


def verify(content: dict, path: str | Path) -> None:
    """Raise UserError if the content of ``path`` is not what its checksum was made of; without one it passes."""
    try:
        same = "checksum" not in content or content["checksum"] == checksum(content)
    except (RuntimeError, TypeError, ValueError, LookupError):  # a dict inside itself, a tensor without values
        same = False
    if not same:
        raise UserError(f"{path} is damaged: its checksum is that of another content; copy it again")


def read(path: str | Path) -> dict:
    """Read any torch file to CPU without running code from it.

    Raises UserError where there is no file, where it is truncated, damaged or no torch file, and where it holds more
    than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}; give the path of a .pth file")
    with growth_limited(path):
        content = _loaded(path)
        if not isinstance(content, dict):
            raise UserError(f"{path} holds a {type(content).__name__}, not a checkpoint's dict")
        verify(content, path)
    return content


def _loaded(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if wanted := re.search(r"Unsupported (?:global|class)[^\n]*", str(error)):
            raise UserError(f"{path} wants to run code and is not read ({wanted[0]})") from error
        raise UserError(f"{path} is not a checkpoint, or a damaged one; was it copied completely?") from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail in any of a dozen ways
        raise UserError(f"{path} is not a checkpoint, or a truncated one; was it copied completely?") from error


def export_backbone(
    path: str | Path, backbone: nn.Module, *, about: dict, mean=IMAGENET_MEAN, std=IMAGENET_STD
) -> None:
    """Write ``backbone.pth``; ``about`` is what the checkpoint says of the run (method, recipe, epochs, ...).

    ``mean`` and ``std`` are those the images were normalised with, for values in [0, 1].
    """
    weights = {name: value.detach().cpu().clone() for name, value in backbone.state_dict().items()}
    input_settings = {"order": "RGB", "mean": list(mean), "std": list(std)}
    save(path, {**about, "format": BACKBONE, "input": input_settings, "state_dict": weights})


def read_backbone(path: str | Path) -> dict:
    """Read a ``backbone.pth``; UserError if the file is something else."""
    content = read(path)
    if content.get("format") != BACKBONE:
        found = content.get("format") or "a dict with " + ", ".join(map(str, list(content)[:4]))
        raise UserError(f"{path} is not a backbone.pth of this suite (found {found})")
    return content
