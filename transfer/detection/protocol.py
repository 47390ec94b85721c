"""Protocols: a fine-tuning recipe is a Detectron2 yaml in protocols/, named by its file.

A yaml may name a ``_BASE_`` in the same folder and then states only its difference. Files that begin with ``_`` are
such bases only. The comment at the head of each says what it is, then ``Source:`` and ``Expected:``, the cells of other
people's tables that a run of it should come near. ``TRANSFER.VERSION`` rises when a protocol's numbers change; it goes
into every result.

No Detectron2 or torch here; transfer.detection.run_config makes Detectron2's config of a protocol.
"""

from itertools import takewhile
from pathlib import Path
from typing import Any

from runtime.command_line import UserError, one_of
from runtime.read import read_text, read_yaml
from runtime.settings import flat
from transfer.detection import settings

FOLDER = Path(__file__).resolve().parent.parent / "protocols"


def available() -> list[str]:
    """The protocols' names."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.yaml"))


def read(name: str) -> dict[str, Any]:
    """What protocol ``name`` and its bases set: ``{"SOLVER.BASE_LR": 0.02, ...}``.

    Raises UserError for an unknown protocol, and for a yaml that is damaged, sets what Detectron2 does not know, or
    names a base outside the folder.
    """
    one_of("protocol", name, available())
    values = _merged(f"{name}.yaml", ())
    settings.check(values, FOLDER / f"{name}.yaml")
    return values


def value(name: str, key: str) -> Any:
    """The setting ``key`` of protocol ``name``."""
    return read(name).get(key, settings.defaults()[key])


def header(name: str) -> dict[str, str]:
    """What the head of a protocol's yaml says: ``{"title": ..., "source": ..., "expected": ...}``."""
    comment = takewhile(lambda line: line.startswith("#"), read_text(FOLDER / f"{name}.yaml").splitlines())
    title, _, rest = " ".join(line.lstrip("# ") for line in comment).partition(" Source: ")
    source, _, expected = rest.partition(" Expected: ")
    return {"title": title, "source": source, "expected": expected}


def _merged(file: str, derived: tuple[str, ...]) -> dict[str, Any]:
    """The settings of a yaml over those of its base; ``derived`` are the files that it is a base of."""
    path = FOLDER / file
    if file != Path(file).name or file in derived:
        raise UserError(f"{FOLDER / derived[-1]}: _BASE_ {file!r} is not another file of {FOLDER}; name one")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings; expected a mapping such as 'SOLVER: {{BASE_LR: 0.02}}'")
    base = content.pop("_BASE_", None)
    inherited = {} if base is None else _merged(str(base), (*derived, file))
    return {**inherited, **flat(content)}
