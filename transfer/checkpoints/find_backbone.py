"""From a file to the one trunk in it: recognise the format, choose between candidates, account for every tensor."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pretrain import backbones
from runtime.command_line import UserError, one_of
from transfer.checkpoints import weights
from transfer.checkpoints.families import TIMM
from transfer.checkpoints.format_spec import Format, address_of, at, begins, below
from transfer.checkpoints.formats import AUTO, FORMATS
from transfer.checkpoints.origin import ORIGIN, checked, is_count
from transfer.checkpoints.vit_formats import ANY_OF_TIMM

COUNTER = ("BatchNorm's step counter, which inference never reads", r"\.num_batches_tracked$")
DEEPEST = 6
"""Dictionaries inside dictionaries that are searched for tensors; VISSL's trunk is at 4."""

MOST_DICTIONARIES = 10_000
"""More than this are no checkpoint: a few bytes of a pickle can name one dictionary in a thousand places."""

NETWORK = {family.TITLE: family.WHOLE for family in backbones.families().values()}
"""What shows that a dictionary holds a whole network of the family."""

BESIDE = "projector, predictor or other state of the method, used only in pretraining"


@dataclass(frozen=True)
class Trunk:
    """A trunk found in a file."""

    entry: Format
    """How it was recognised."""
    encoder: str
    """Which of the candidates it is."""
    candidates: list[str]
    tensors: dict[str, Tensor]
    """Source name -> tensor, of all that the file says of networks."""
    names: dict[str, str]
    """Source name -> the family's name, of the trunk."""
    dropped: dict[str, str]
    """Source name -> why it was left behind."""
    about: dict
    """``ORIGIN``'s keys, as far as the file tells, and ``input``, in Detectron2's terms."""
    other_keys: list[str]
    """Keys of the file that hold no part of a network."""

    @property
    def format(self) -> str:
        """The name of the format."""
        return self.entry.name


def find_trunk(
    content: dict, path: Path, *, format: str = AUTO, encoder: str | None = None, backbone: str = ""
) -> Trunk:
    """Recognise the format of a loaded file and split its tensors into the trunk taken and the rest.

    Args:
        format: name of the format, for a file that fits several; ``auto`` asks for exactly one that fits.
        encoder: which candidate, for a file with several trunks: by the name its format gives it, or ``online`` or
            ``teacher``; by default the one its authors evaluate.
        backbone: ``timm:NAME``, for a file of any network of timm.

    Raises UserError if no known format fits, if several do, if the file lacks the candidate asked for, and if two of
    its tensors would get one name; ``path`` is only named in the message.
    """
    dicts = state_dicts(content, path)
    addresses = {address_of(container, name) for container, tensors in dicts.items() for name in tensors}
    entry = recognise(content, addresses, path, backbone) if format == AUTO else _named(format)
    candidates = entry.trunks_in(addresses) or list(entry.trunks)[:1]
    chosen = entry.encoder(encoder, candidates) if encoder else candidates[0]
    if chosen not in candidates:
        raise UserError(f"{path} ({entry.name}) has no encoder {encoder!r}; it has: {', '.join(candidates)}")

    containers = {place.split(":")[0] for places in entry.trunks.values() for place in places.split("|")}
    siblings = {container.rpartition("/")[0] for container in containers if "/" in container}
    read = {c: t for c, t in dicts.items() if c in containers or c.rpartition("/")[0] in siblings}
    if format == AUTO:
        _check_alone(path, entry, read, dicts)
    tensors, names, dropped = {}, {}, {}
    for container, held in read.items():
        for name, tensor in held.items():
            source = name if len(read) == 1 else f"{container}:{name}"
            tensors[source] = tensor
            new, reason = _place(entry, address_of(container, name), chosen, candidates)
            if reason:
                dropped[source] = reason
            else:
                names[source] = new
    _check_distinct(path, names)
    other_keys = sorted(
        str(key) for key in content if not any(c.split("/")[0] == key for c in read) and key not in tensors
    )
    about = _about(entry, content, addresses, path)
    return Trunk(entry, chosen, candidates, tensors, names, dropped, about, other_keys)


def state_dicts(content: dict, path: Path) -> dict[str, dict[str, Tensor]]:
    """Every dictionary of the file that holds tensors by name, but for optimisers: container -> name -> tensor.

    Raises UserError where there are too many to be those of a checkpoint, and for numbers that torch has not.
    """
    found: dict[str, dict[str, Tensor]] = {}
    left = MOST_DICTIONARIES

    def visit(node: Mapping, container: str, depth: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise UserError(f"{path} holds more than {MOST_DICTIONARIES} dictionaries; save only its state dict")
        own = {key: _tensor(value, f"{path}: {key}") for key, value in node.items() if isinstance(key, str)}
        if own := {key: value for key, value in own.items() if value is not None}:
            found[container] = own
        for key, value in node.items():
            if isinstance(key, str) and isinstance(value, Mapping) and depth < DEEPEST and "optim" not in key:
                visit(value, f"{container}/{key}" if container else key, depth + 1)

    visit(content, "", 0)
    return found


def _tensor(value, name: str) -> Tensor | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        try:
            return torch.as_tensor(value)
        except (TypeError, ValueError) as error:  # of another byte order, or more than 64 bits
            raise UserError(f"{name} holds {value.dtype.str}, expected this machine's float32; save it so") from error
    return value.detach() if isinstance(value, Tensor) and value.layout == torch.strided else None


def recognise(content: dict, addresses: set[str], path: Path, backbone: str = "") -> Format:
    """The one format that fits; UserError, with what was found, if none or several do."""
    fitting = [entry for entry in FORMATS if entry.recognises(content, addresses)]
    if backbone:
        fitting = [entry for entry in fitting if entry.family == TIMM]
    if not fitting and (backbone or isinstance(content.get("arch"), str)) and ANY_OF_TIMM.trunks_in(addresses):
        return ANY_OF_TIMM
    if len(fitting) > 1:
        names = "; ".join(entry.name for entry in fitting)
        raise UserError(f"{path} fits {len(fitting)} formats: {names}; choose one with --format")
    if not fitting:
        raise UserError(
            f"{path}: no known checkpoint format; {found_in(content, addresses)}; transfer/convert.py --formats lists "
            f"those known"
        )
    return fitting[0]


def found_in(content: dict, addresses: set[str]) -> str:
    """The prefixes of a file's tensors with their counts, the commonest first; its keys if it has no tensors."""
    if not addresses:
        keys = ", ".join(sorted(map(str, content))[:5]) or "nothing"
        return f"it has no tensors, its keys are {keys}"
    counts: dict[str, int] = {}
    for address in addresses:
        container, _, name = address.rpartition(":")
        first = f"{name.split('.')[0]}." if "." in name else name
        prefix = f"{container}: {first}" if container else first
        counts[prefix] = counts.get(prefix, 0) + 1
    common = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    more = f" and {len(common) - 8} more" if len(common) > 8 else ""
    return "its tensors begin with " + ", ".join(f"{prefix} ({n})" for prefix, n in common[:8]) + more


def _named(format: str) -> Format:
    one_of("format", format, [entry.name for entry in FORMATS])
    return next(entry for entry in FORMATS if entry.name == format)


def _place(entry: Format, address: str, chosen: str, candidates: list[str]) -> tuple[str, str]:
    """(torchvision's name, "") of a tensor that is taken, ("", the rule) of one that is not."""
    name = address.partition(":")[2]
    rest = below(address, entry.trunks[chosen])
    inside = name if rest is None else rest
    for reason, pattern in entry.dropped:
        if re.search(pattern, name) or re.search(pattern, inside):
            return "", reason
    in_the_chosen = entry.name_in(address, entry.trunks[chosen]) is not None
    for other in candidates:
        if other != chosen and begins(address, entry.trunks[other]) and not in_the_chosen:
            return "", f"{other}: another trunk than the one taken; --encoder {other} chooses it"
    if re.search(COUNTER[1], name):
        return "", COUNTER[0]
    return (entry.rename(rest), "") if rest is not None else ("", BESIDE)


def _check_alone(path: Path, entry: Format, read: dict, dicts: dict) -> None:
    """Raise UserError if a network stands where the format does not look: a person must say which of the two counts."""
    network = NETWORK[entry.family]
    other = [c for c in dicts if c not in read and any(network.search(name) for name in dicts[c])]
    if other:
        raise UserError(
            f"{path} holds a {entry.family} under {', '.join(read) or 'no key'} and another one under "
            f"{', '.join(other)}; --format {entry.name!r} takes the first, for the other save it alone"
        )


def _check_distinct(path: Path, names: dict[str, str]) -> None:
    seen: dict[str, str] = {}
    for source, new in names.items():
        if new in seen:
            raise UserError(f"{path} is ambiguous: {seen[new]} and {source} would both become {new}")
        seen[new] = source


def _about(entry: Format, content: dict, addresses: set[str], path: Path) -> dict:
    if weights.ABOUT in content:  # converted before: its origin is that of the file it was made from
        return {**ORIGIN, "input": entry.input, **checked(content[weights.ABOUT], path)}
    method = entry.method(addresses) if callable(entry.method) else entry.method
    key, offset = entry.epochs
    epoch = at(content, key)
    told = {"method": method, **({"epochs": epoch + offset} if is_count(epoch) else {})}
    return checked({**ORIGIN, "input": entry.input, **told, **entry.origin(content)}, path)
