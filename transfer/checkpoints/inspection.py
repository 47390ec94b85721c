"""What a checkpoint is and what the converter would make of it, in words."""

import contextlib
import re
from collections import Counter
from pathlib import Path

from runtime.command_line import UserError, printable
from transfer.checkpoints import conversion, read, resnet
from transfer.checkpoints.families import RESNET, VIT, Wishes
from transfer.checkpoints.find_backbone import Trunk, find_trunk, state_dicts
from transfer.checkpoints.format_spec import IMAGENET, Format, address_of
from transfer.checkpoints.formats import AUTO, FORMATS


def report(path: Path, *, format: str = AUTO, encoder: str | None = None, wishes: Wishes = conversion.NOTHING) -> str:
    """Several lines on the file at ``path``; a file that would be refused is described as far as it is understood.

    Raises UserError only for a file that cannot be read.
    """
    file = read.read(path)
    lines = [f"{path}: {file.kind}, {path.stat().st_size / 1e6:.1f} MB"]
    if file.stand_ins:
        lines.append(f"classes     read as empty stand-ins: {_some(list(file.stand_ins))}")
    try:
        trunk = find_trunk(file.content, path, format=format, encoder=encoder, backbone=wishes.backbone)
    except UserError as error:
        dicts = state_dicts(file.content, path)
        lines += [f"tensors     {_where(container, tensors)}" for container, tensors in dicts.items()]
        return _text([*lines, *(f"refused     {fault}" for fault in error.faults)])
    return _text(
        [*lines, *_of_trunk(trunk, _input_of(trunk, file.content, path)), *_verdict(path, trunk, file.content, wishes)]
    )


def _text(lines: list[str]) -> str:
    return "\n".join(map(printable, lines))


def formats_table() -> str:
    """The known formats as Markdown: how each is recognised, what is taken and left, the input it was trained on."""
    head = (
        "format",
        "family",
        "recognised by",
        "taken (others with `--encoder`)",
        "left behind",
        "input",
        "written in",
    )
    rows = [head, tuple("---" for _ in head), *map(_row, FORMATS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(entry: Format) -> tuple[str, ...]:
    first, *others = entry.trunks
    left = [*dict.fromkeys(reason for reason, _ in entry.dropped), "step counters"]
    if not any(place.endswith(":") for place in entry.trunks[first].split("|")):
        left.append("whatever is not in the trunk")
    taken = first + (f" ({', '.join(others)})" if others else "")
    return entry.name, entry.family, entry.recognised_by(), taken, "; ".join(left), _input(entry), entry.source


def _input(entry: Format) -> str:
    if entry.written_as.startswith("ssl"):
        return "as the file says"
    if entry.input is None:
        return "as `config.json` beside it says, or `--input`"
    different = [key for key in IMAGENET if entry.input[key] != IMAGENET[key]]
    return "ImageNet" + "".join(f", {key} {entry.input[key]}" for key in different)


def _where(container: str, tensors: dict) -> str:
    first = Counter(address_of("", name)[1:].split(".")[0] for name in tensors)
    return f"{container or 'top level'}: {_some([f'{name} ({count})' for name, count in first.most_common()])}"


def _some(words: list[str], most: int = 6) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def _input_of(trunk: Trunk, content: dict, path: Path) -> dict | None:
    """What the network was fed, as the conversion takes it from the file and the configuration beside it."""
    with contextlib.suppress(UserError):  # which the verdict says
        return conversion.declared(trunk, content, path).get("input") or trunk.about["input"]
    return trunk.about["input"]


def _of_trunk(trunk: Trunk, seen: dict | None) -> list[str]:
    shapes = {new: tuple(trunk.tensors[name].shape) for name, new in trunk.names.items()}
    about = trunk.about
    told = [
        about["method"] or "not told by the file",
        about["recipe"],
        about["variant"],
        f"{about['epochs']} epochs" if about["epochs"] else "",
    ]
    others = [name for name in trunk.candidates if name != trunk.encoder]
    lines = [
        f"format      {trunk.format}",
        f"method      {', '.join(word for word in told if word)}",
        f"candidates  {trunk.encoder} (taken){''.join(f', {name} (--encoder {name})' for name in others)}",
        *(_of_resnet(shapes, seen or IMAGENET) if trunk.entry.family == RESNET else _of_another(trunk, seen)),
    ]
    for reason, count in Counter(trunk.dropped.values()).most_common():
        names = sorted({_head(name) for name, why in trunk.dropped.items() if why == reason})
        lines.append(f"dropped     {count}: {reason} ({_some(names, 4)})")
    if trunk.other_keys:
        lines.append(f"other keys  {_some(trunk.other_keys, 10)}")
    return lines


def _of_resnet(shapes: dict, seen: dict) -> list[str]:
    architecture = resnet.architecture_of(shapes)
    expected = len(resnet.expected_shapes(architecture if architecture.depth in resnet.KNOWN else resnet.RESNET50))
    return [
        f"trunk       {len(shapes)} of {expected} tensors",
        f"depth       {resnet.depth(shapes)}",
        f"stem        {resnet.stem(shapes)}",
        f"width       {resnet.width(shapes)}",
        f"input       {_scale(seen)}, stride in the {'1x1' if seen['stride_in_1x1'] else '3x3'} convolution",
    ]


def _of_another(trunk: Trunk, seen: dict | None) -> list[str]:
    return [
        f"trunk       {len(trunk.names)} tensors of a {trunk.entry.family}",
        f"input       {_scale(seen) if seen else 'not told by the file; --input says it'}",
    ]


def _scale(seen: dict) -> str:
    return f"{seen['order']}, mean {seen['pixel_mean']}, std {seen['pixel_std']}"


def _head(name: str) -> str:
    """A tensor's name up to the first part that only counts or names a layer: enough to know the group by."""
    group = re.split(r"\.(?=\d|conv|bn|layer|weight|bias|running|num_)", name)[0]
    return name if group == name else f"{group}.*"


def _verdict(path: Path, trunk: Trunk, content: dict, wishes: Wishes) -> list[str]:
    try:
        renamed, _ = conversion.rename(trunk, content, path, wishes)
    except UserError as error:
        return [f"refused     {error}"]
    if trunk.entry.family == RESNET:
        return ["verdict     converts; its batch norms hold statistics"]
    record = renamed.record
    words = [record["name"]]
    if trunk.entry.family == VIT:
        words += [
            f"{record['depth']} blocks of width {record['width']}",
            f"{record['heads']} heads (from {record['heads_from']})",
            f"patch {record['patch']}, positions {record['grid']} x {record['grid']}",
        ]
    return [f"network     {', '.join(words)}", "verdict     converts"]
