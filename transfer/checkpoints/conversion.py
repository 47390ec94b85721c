"""One conversion: a checkpoint in, weights for Detectron2 and a ledger of every tensor out, or nothing at all."""

import contextlib
import importlib
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from torch import Tensor

from pretrain import backbones
from pretrain.checkpoints.retention import row_variant
from runtime import provenance
from runtime.command_line import UserError
from runtime.files import sha256, write_json
from runtime.read import read_json
from transfer.checkpoints import parity, read, weights
from transfer.checkpoints.declared import declared_of
from transfer.checkpoints.families import Wishes
from transfer.checkpoints.find_backbone import Trunk, find_trunk
from transfer.checkpoints.format_spec import IMAGENET
from transfer.checkpoints.formats import AUTO
from transfer.checkpoints.origin import is_number
from transfer.checkpoints.renamed import Renamed

SUFFIXES = (".pkl", ".pth")
FAMILIES = {
    family.TITLE: importlib.import_module(f"transfer.checkpoints.renaming.{name}")
    for name, family in backbones.families().items()
}
"""How each family's tensors are renamed, and how the result is compared with the source."""
DECIDES = ("format", "take", "method", "epochs", "input", "backbone")
"""What tells two conversions of one file apart, by its name in the ledger."""
OF_LEDGERS = {"output", "source_sha256", "output_sha256", "parity", "tensors"}
"""Keys by one of which a ledger of any age is known."""


def ledger_path(destination: Path) -> Path:
    """Where the ledger of ``destination`` is: conversion.json for backbone.pkl, else NAME.conversion.json."""
    name = "conversion.json" if destination.name == "backbone.pkl" else f"{destination.name}.conversion.json"
    return destination.with_name(name)


NOTHING = Wishes()


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    format: str = AUTO,
    encoder: str | None = None,
    method: str = "",
    epochs: int = 0,
    input: Mapping | None = None,
    wishes: Wishes = NOTHING,
) -> dict:
    """Convert ``source`` and return the ledger; at once if ``destination`` is the whole result of the same conversion.

    Args:
        format, encoder: as for ``find_trunk``.
        method, epochs, input: what the user says of the weights, which counts for more than what the file says.
            ``input`` holds some of the keys ``order``, ``pixel_mean``, ``pixel_std``, ``stride_in_1x1``. A method
            that neither of them says is the file's name.
        wishes: what the user says of the network itself.

    Raises UserError if the source holds no trained network that Detectron2 can build, if its format is unknown, if
    something that no tensor shows is not told, or if ``destination`` or its ledger belongs to another conversion.
    """
    source, destination = Path(source), Path(destination)
    if destination.suffix not in SUFFIXES:
        raise UserError(f"the destination must end in .pkl or .pth, which says the format to write; got {destination}")
    content = read.read(source).content
    _check_destination(destination, source)
    trunk = find_trunk(content, source, format=format, encoder=encoder, backbone=wishes.backbone)
    renamed, told = rename(trunk, content, source, wishes)
    said = _origin(source, trunk.about, told, method=method, epochs=epochs, input=input or {})
    with ThreadPoolExecutor(2) as pool:
        hashes = _Hashes(pool, source, renamed.arrays)
        return _converted(source, destination, trunk, renamed, said, hashes)


def _check_destination(destination: Path, source: Path) -> None:
    """Raise UserError where weights and ledger cannot go, before anything is written."""
    for path in (destination, ledger_path(destination)):
        try:
            path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; choose another destination") from error
        if path.is_dir():
            raise UserError(f"{path} is a folder, and a file of that name is to be written; choose another destination")
    if destination.exists() and destination.samefile(source):
        raise UserError(f"{destination} is the source itself; choose another destination")


class _Hashes:
    """SHA-256 of the source and of what is made of it, computed in threads beside the rest of a conversion.

    They take longer than reading and writing do. hashlib lets other threads run meanwhile.
    """

    def __init__(self, pool: ThreadPoolExecutor, source: Path, arrays: Mapping[str, np.ndarray]):
        self.source = pool.submit(sha256, source)
        self.arrays = pool.submit(weights.digest, arrays)
        """Over all arrays."""
        self.each = {name: pool.submit(weights.digest, {"": array}) for name, array in arrays.items()}


def _converted(source: Path, destination: Path, trunk: Trunk, renamed: Renamed, origin: dict, hashes: _Hashes) -> dict:
    """Compare the networks, write weights and ledger, and return the ledger; at once where both are whole."""
    made = {"format": trunk.format, "take": trunk.encoder, "source": source.name}
    made["source_sha256"] = hashes.source.result()
    network = {"backbone": renamed.record} if renamed.record else {}
    # A file that was converted before keeps saying what it was made from first; the ledger is about this conversion.
    about = {**made, "converter_commit": provenance.commit(), **origin, **network}
    ledger = {**about, **made, "output": destination.name}
    if finished := _finished(destination, about, ledger):
        return finished

    differences = _differences(trunk, renamed, source, origin["input"])
    if destination.suffix == ".pkl":
        file_hash = weights.write(destination, renamed.arrays, about)
    else:
        file_hash = weights.write_torch(destination, renamed, about)
    ledger |= {
        "not_taken": [other for other in trunk.candidates if other != trunk.encoder],
        "output_sha256": hashes.arrays.result(),
        "output_file_sha256": file_hash,
        "parity": differences,
        "tensors": _tensors(trunk, renamed, hashes),
        "other_keys": trunk.other_keys,
    }
    ledger |= {"added": renamed.added} if renamed.added else {}
    ledger |= {"positions": renamed.positions} if renamed.positions else {}
    # The ledger comes last: its presence says that the conversion is complete.
    write_json(ledger_path(destination), ledger)
    return ledger


def rename(trunk: Trunk, content: dict, source: Path, wishes: Wishes) -> tuple[Renamed, dict]:
    """The trunk under Detectron2's names, and what the file tells of it.

    Raises UserError as its family does, and for wishes that are not of this family.
    """
    family = trunk.entry.family
    if unread := wishes.unread_by(family):
        raise UserError(f"{source} is of the family {family}, which does not read {', '.join(unread)}; leave it out")
    shaped = {new: _reshaped(trunk, new, trunk.tensors[name], source) for name, new in trunk.names.items()}
    told = declared(trunk, content, source)
    return FAMILIES[family].renamed(source, shaped, wishes, told), told


def declared(trunk: Trunk, content: dict, source: Path) -> dict:
    """What file and configuration tell of the trunk (``declared_of``). Raises UserError where they tell nonsense."""
    own = {new: trunk.tensors[name] for name, new in trunk.names.items()}
    return declared_of(trunk.entry, own, content, source)


def _reshaped(trunk: Trunk, name: str, tensor: Tensor, source: Path) -> Tensor:
    try:
        return trunk.entry.reshape(name, tensor)
    except (RuntimeError, IndexError) as error:
        shape = list(tensor.shape)
        raise UserError(f"{source}: {name} is {shape}, which is no shape of the format {trunk.format}") from error


REFERENCE = {family.TITLE: family.REFERENCE for family in backbones.families().values()}
"""Whose network, built from the source's tensors, the converted one is compared with."""


def _differences(trunk: Trunk, renamed: Renamed, source: Path, input: Mapping) -> dict[str, float]:
    """The parity of the two networks at every stage; UserError where they are apart."""
    family = trunk.entry.family
    found = FAMILIES[family].differences(renamed, source, input)
    if far := {stage: value for stage, value in found.items() if not value < parity.TOLERANCE}:
        raise UserError(f"{source}: {REFERENCE[family]}'s and Detectron2's networks differ after conversion: {far}")
    return found


def _origin(source: Path, in_file: dict, declared: dict, *, method: str, epochs: int, input: Mapping) -> dict:
    """What the file says of its weights, with what the user says put over it; a contradiction is named on stderr."""
    said = {"method": method, "epochs": epochs}
    for key, value in said.items():
        if value and in_file[key] and value != in_file[key]:
            print(f"note: {source} says {key} {in_file[key]}; the command line says {value}", file=sys.stderr)
    origin = {**in_file, "variant": row_variant(source, in_file["variant"])}
    origin |= {key: value or origin[key] for key, value in said.items()}
    origin["method"] = origin["method"] or source.name.split(".")[0]
    seen = declared.get("input") or in_file["input"]
    if seen is None and not {"pixel_mean", "pixel_std"} <= input.keys():
        raise UserError(
            f"{source}: files of this format differ in their images' mean and deviation, and this one does not say: "
            f"add --input pixel_mean=123.675,116.28,103.53 pixel_std=58.395,57.12,57.375 (ImageNet), or "
            f"127.5,127.5,127.5 for both"
        )
    return origin | {"input": {**(seen or IMAGENET), **input}}


def _tensors(trunk: Trunk, renamed: Renamed, hashes: _Hashes) -> dict:
    """For each source tensor its new name with shape and hash, or the rule that dropped it."""
    kept = {}
    for name, new in trunk.names.items():
        fate = renamed.fates[new]
        if to := fate.get("to"):
            seen = {"shape": list(renamed.arrays[to].shape), "sha256": hashes.each[to].result()}
            fate = {"to": to, **seen, **{key: value for key, value in fate.items() if key != "to"}}
        kept[name] = fate
    return {**kept, **{name: {"dropped": reason} for name, reason in trunk.dropped.items()}}


def _finished(destination: Path, about: dict, expected: dict) -> dict | None:
    """The ledger of the same conversion if its output is whole; None if there is still something to do.

    Raises UserError if what lies at ``destination`` is of another conversion, of none, or damaged.
    """
    path = ledger_path(destination)
    ledger = _read_ledger(path)
    if ledger and ledger["output"] != destination.name and os.path.exists(destination.with_name(ledger["output"])):
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
    if not _is_whole(destination, ledger):
        raise UserError(
            f"{destination} is damaged or was changed: it is not the file that {path.name} describes; delete it and "
            f"convert again"
        )
    if _is_complete(ledger):
        return ledger
    _say_damaged(path)
    return None


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
        if there.get(key, here.get(key)) != here.get(key):
            raise UserError(
                f"{destination} was made from {here['source']} with {key} {there[key]}, not {here.get(key)}; choose "
                f"another destination or delete it"
            )


def _read_ledger(path: Path) -> dict | None:
    """A ledger; None where there is none, or where it is damaged, which is said on stderr.

    Raises UserError for a file of another kind, which nobody should overwrite.
    """
    if not path.exists():
        return None
    content = None
    with contextlib.suppress(UserError):
        content = read_json(path)
    if content and not (isinstance(content, dict) and content.keys() & OF_LEDGERS):
        raise UserError(f"{path} is no ledger of this converter, which is to be written there; choose another folder")
    if content and isinstance(content.get("source_sha256"), str) and _is_name(content.get("output")):
        return content
    _say_damaged(path)
    return None


def _say_damaged(path: Path) -> None:
    print(f"note: {path} is damaged; it is written again", file=sys.stderr)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and Path(value).name == value


def _is_complete(ledger: Mapping) -> bool:
    """Whether a ledger says what is said of a conversion when it ends."""
    differences, tensors, others = ledger.get("parity"), ledger.get("tensors"), ledger.get("not_taken", [])
    return (
        isinstance(ledger.get("format"), str)
        and (isinstance(differences, dict) and len(differences) > 0 and all(map(is_number, differences.values())))
        and (isinstance(tensors, dict) and all(isinstance(entry, dict) for entry in tensors.values()))
        and (isinstance(others, list) and all(isinstance(name, str) for name in others))
    )


def _about_of(path: Path) -> dict | None:
    """What a file of this converter says of its own origin; None for any other or a damaged file."""
    try:
        content = weights.read(path) if path.suffix == ".pkl" else read.read(path).content
    except UserError:
        return None
    about = content.get(weights.ABOUT)
    return about if isinstance(about, dict) else None
