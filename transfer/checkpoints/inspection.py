"""What a checkpoint is and what the converter would make of it, in words."""

import re
from collections import Counter
from pathlib import Path

from runtime.command_line import UserError
from transfer.checkpoints import read, resnet50
from transfer.checkpoints.find_backbone import Trunk, find_trunk, state_dicts
from transfer.checkpoints.format_spec import IMAGENET, Format, address_of
from transfer.checkpoints.formats import AUTO, FORMATS


def report(path: Path, *, format: str = AUTO, encoder: str | None = None) -> str:
    """Several lines on the file at ``path``; a file that would be refused is described as far as it is understood.

    Raises UserError only for a file that cannot be read.
    """
    file = read.read(path)
    lines = [f"{path}: {file.kind}, {path.stat().st_size / 1e6:.1f} MB"]
    if file.stand_ins:
        lines.append(f"classes     read as empty stand-ins: {_some(list(file.stand_ins))}")
    try:
        trunk = find_trunk(file.content, path, format=format, encoder=encoder)
    except UserError as error:
        dicts = state_dicts(file.content, path)
        lines += [f"tensors     {_where(container, tensors)}" for container, tensors in dicts.items()]
        return "\n".join([*lines, f"refused     {error}"])
    return "\n".join([*lines, *_of_trunk(trunk), _verdict(path, trunk)])


def formats_table() -> str:
    """The known formats as Markdown: how each is recognised, what is taken and left, the input it was trained on."""
    head = ("format", "recognised by", "taken (others with `--encoder`)", "left behind", "input", "written in")
    rows = [head, tuple("---" for _ in head), *map(_row, FORMATS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(entry: Format) -> tuple[str, ...]:
    first, *others = entry.trunks
    left = [*dict.fromkeys(reason for reason, _ in entry.dropped), "step counters"]
    if not any(place.endswith(":") for place in entry.trunks[first].split("|")):
        left.append("whatever is not in the trunk")
    taken = first + (f" ({', '.join(others)})" if others else "")
    return entry.name, entry.recognised_by(), taken, "; ".join(left), _input(entry), entry.source


def _input(entry: Format) -> str:
    if entry.written_as:
        return "as the file says"
    different = [key for key in IMAGENET if entry.input[key] != IMAGENET[key]]
    return "ImageNet" + "".join(f", {key} {entry.input[key]}" for key in different)


def _where(container: str, tensors: dict) -> str:
    first = Counter(address_of("", name)[1:].split(".")[0] for name in tensors)
    return f"{container or 'top level'}: {_some([f'{name} ({count})' for name, count in first.most_common()])}"


def _some(words: list[str], most: int = 6) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def _of_trunk(trunk: Trunk) -> list[str]:
    shapes = {new: tuple(trunk.tensors[name].shape) for name, new in trunk.names.items()}
    seen, about = trunk.about["input"], trunk.about
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
        f"trunk       {len(shapes)} of {len(resnet50.expected_shapes())} tensors",
        f"depth       {resnet50.depth(shapes)}",
        f"stem        {resnet50.stem(shapes)}",
        f"width       {resnet50.width(shapes)}",
        f"input       {seen['order']}, mean {seen['pixel_mean']}, std {seen['pixel_std']}, "
        f"stride in the {'1x1' if seen['stride_in_1x1'] else '3x3'} convolution",
    ]
    for reason, count in Counter(trunk.dropped.values()).most_common():
        names = sorted({_head(name) for name, why in trunk.dropped.items() if why == reason})
        lines.append(f"dropped     {count}: {reason} ({_some(names, 4)})")
    if trunk.other_keys:
        lines.append(f"other keys  {_some(trunk.other_keys, 10)}")
    return lines


def _head(name: str) -> str:
    """A tensor's name up to the first part that only counts or names a layer: enough to know the group by."""
    group = re.split(r"\.(?=\d|conv|bn|layer|weight|bias|running|num_)", name)[0]
    return name if group == name else f"{group}.*"


def _verdict(path: Path, trunk: Trunk) -> str:
    try:
        resnet50.check(path, {new: trunk.tensors[name] for name, new in trunk.names.items()})
    except UserError as error:
        return f"refused     {error}"
    return "verdict     converts; its batch norms hold statistics"
