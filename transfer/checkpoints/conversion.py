"""One conversion: a checkpoint in, weights for Detectron2 and a ledger of every tensor out, or nothing at all."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from pretrain.checkpoints.retention import row_variant
from runtime import provenance
from runtime.command_line import UserError
from runtime.files import sha256, write_json
from transfer.checkpoints import parity, read, resnet50, weights
from transfer.checkpoints.find_backbone import Trunk, find_trunk
from transfer.checkpoints.formats import AUTO
from transfer.checkpoints.rename import to_detectron2

WRITERS = {".pkl": weights.write, ".pth": weights.write_torch}
DECIDES = ("format", "take", "method", "epochs", "input")
"""What tells two conversions of one file apart, by its name in the ledger."""


def ledger_path(destination: Path) -> Path:
    """Where the ledger of ``destination`` is: conversion.json for backbone.pkl, else NAME.conversion.json."""
    name = "conversion.json" if destination.name == "backbone.pkl" else f"{destination.name}.conversion.json"
    return destination.with_name(name)


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    format: str = AUTO,
    encoder: str | None = None,
    method: str = "",
    epochs: int = 0,
    input: Mapping | None = None,
) -> dict:
    """Convert ``source`` and return the ledger; at once if ``destination`` is the whole result of the same conversion.

    Args:
        format, encoder: as for ``find_trunk``.
        method, epochs, input: what the user says of the weights, which counts for more than what the file says.
            ``input`` holds some of the keys ``order``, ``pixel_mean``, ``pixel_std``, ``stride_in_1x1``. A method
            that neither of them says is the file's name.

    Raises UserError if the source is no trained ResNet-50 with an ImageNet stem, if its format is unknown, or if
    ``destination`` or its ledger belongs to another conversion.
    """
    source, destination = Path(source), Path(destination)
    if destination.suffix not in WRITERS:
        raise UserError(f"the destination must end in .pkl or .pth, which says the format to write; got {destination}")
    if destination.exists() and source.exists() and destination.samefile(source):
        raise UserError(f"{destination} is the source itself; choose another destination")
    trunk = find_trunk(read.read(source).content, source, format=format, encoder=encoder)
    made = {"format": trunk.format, "take": trunk.encoder, "source": source.name, "source_sha256": sha256(source)}
    origin = _origin(source, trunk.about, method=method, epochs=epochs, input=input or {})
    # A file that was converted before keeps saying what it was made from first; the ledger is about this conversion.
    about = {**made, "converter_commit": provenance.commit(), **origin}
    ledger = {**about, **made, "output": destination.name}
    if finished := _finished(destination, about, ledger):
        return finished

    tensors = {new: trunk.tensors[name] for name, new in trunk.names.items()}
    resnet50.check(source, tensors)
    arrays = {to_detectron2(name): _array(tensor) for name, tensor in tensors.items()}
    differences = parity.stage_differences(tensors, arrays, stride_in_1x1=origin["input"]["stride_in_1x1"])
    if far := {stage: value for stage, value in differences.items() if not value < parity.TOLERANCE}:
        raise UserError(f"{source}: torchvision's and Detectron2's networks differ after conversion: {far}")

    WRITERS[destination.suffix](destination, arrays, about)
    ledger |= {
        "not_taken": [other for other in trunk.candidates if other != trunk.encoder],
        "output_sha256": weights.digest(arrays),
        "output_file_sha256": sha256(destination),
        "parity": differences,
        "tensors": _tensors(trunk, arrays),
        "other_keys": trunk.other_keys,
    }
    # The ledger comes last: its presence says that the conversion is complete.
    write_json(ledger_path(destination), ledger)
    return ledger


def _origin(source: Path, in_file: dict, *, method: str, epochs: int, input: Mapping) -> dict:
    """What the file says of its weights, with what the user says put over it; a contradiction is named on stderr."""
    said = {"method": method, "epochs": epochs}
    for key, value in said.items():
        if value and in_file[key] and value != in_file[key]:
            print(f"note: {source} says {key} {in_file[key]}; the command line says {value}", file=sys.stderr)
    origin = {**in_file, "variant": row_variant(source, in_file["variant"])}
    origin |= {key: value or origin[key] for key, value in said.items()}
    origin["method"] = origin["method"] or source.name.split(".")[0]
    return origin | {"input": {**in_file["input"], **input}}


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


def _tensors(trunk: Trunk, arrays: dict[str, np.ndarray]) -> dict:
    kept = {}
    for name, new in trunk.names.items():
        array = arrays[to_detectron2(new)]
        kept[name] = {"to": to_detectron2(new), "shape": list(array.shape), "sha256": weights.digest({"": array})}
    return {**kept, **{name: {"dropped": reason} for name, reason in trunk.dropped.items()}}


def _finished(destination: Path, about: dict, expected: dict) -> dict | None:
    """The ledger of the same conversion if its output is whole; None if there is still something to do.

    Raises UserError if what lies at ``destination`` is of another conversion, of none, or damaged.
    """
    path = ledger_path(destination)
    ledger = _read_ledger(path)
    if ledger and ledger["output"] != destination.name and destination.with_name(ledger["output"]).exists():
        raise UserError(f"{path} is the ledger of {ledger['output']}; choose another folder for {destination.name}")
    if not destination.exists():
        return None
    if ledger is None or ledger["output"] != destination.name:
        # Killed before the ledger was written, or the ledger was lost: the weights name their own source.
        inside = _about_of(destination)
        if inside is None:
            raise UserError(
                f"{destination} is there, without a readable ledger {path.name}, and is no whole file of this "
                f"converter; delete it or choose another destination"
            )
        _refuse_another(destination, inside, about)
        return None
    _refuse_another(destination, ledger, expected)
    if _is_whole(destination, ledger):
        return ledger
    raise UserError(
        f"{destination} is damaged or was changed: it is not the file that {path.name} describes; delete it and "
        f"convert again"
    )


def _is_whole(destination: Path, ledger: Mapping) -> bool:
    """Whether the output is the one of the ledger, to the byte; by its arrays where an older ledger says no more."""
    if "output_file_sha256" in ledger:
        return ledger["output_file_sha256"] == sha256(destination)
    try:
        model = read.read(destination).content["model"]
        return weights.digest({name: np.asarray(value) for name, value in model.items()}) == ledger["output_sha256"]
    except (UserError, KeyError, AttributeError):
        return False


def _refuse_another(destination: Path, there: Mapping, here: Mapping) -> None:
    """Raise UserError if ``destination``, which is ``there``, was made from another source or otherwise."""
    if there.get("source_sha256") != here["source_sha256"]:
        raise UserError(
            f"{destination} was made from another file: source sha256 {str(there.get('source_sha256'))[:12]} there, "
            f"{here['source_sha256'][:12]} for {here['source']}; choose another destination or delete it"
        )
    for key in DECIDES:
        if there.get(key, here[key]) != here[key]:
            raise UserError(
                f"{destination} was made from {here['source']} with {key} {there[key]}, not {here[key]}; choose "
                f"another destination or delete it"
            )


def _read_ledger(path: Path) -> dict | None:
    """A ledger; None where there is none, or where it is damaged, which is said on stderr."""
    try:
        ledger = json.loads(path.read_text(encoding="utf-8-sig"))
        if all(isinstance(ledger[key], str) for key in ("output", "source_sha256")):
            return ledger
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass
    print(f"note: {path} is damaged; it is written again", file=sys.stderr)
    return None


def _about_of(path: Path) -> dict | None:
    """What a file of this converter says of its own origin; None for any other or a damaged file."""
    try:
        content = weights.read(path) if path.suffix == ".pkl" else read.read(path).content
    except UserError:
        return None
    about = content.get(weights.ABOUT)
    return about if isinstance(about, dict) else None
