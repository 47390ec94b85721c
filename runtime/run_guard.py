"""Whose a folder is: what decides a run's outcome is kept in it, so that no other run continues or overwrites it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.command_line import UserError

FILE = "run.json"
"""Where `check` looks for what a run is."""

MOST = 5
"""How many differences are named; another protocol has hundreds."""


def check(folder: Path, run: Mapping, *, begun: Sequence[str]) -> None:
    """Raise UserError if ``folder`` holds another run, or one of which nothing is known.

    Args:
        run: what decides the outcome, as plain values; some of it perhaps under "settings".
        begun: names of files; a run that has left none of them has no claim.
    """
    left = [name for name in begun if (folder / name).exists()]
    if left and not (folder / FILE).exists():
        raise UserError(f"{folder} holds a {left[0]} of unknown origin (no {FILE}); choose another --out")
    if left:
        refuse_another(folder, _flat(json.loads((folder / FILE).read_text(encoding="utf-8"))), _flat(run))


def refuse_another(folder: Path, there: Mapping, here: Mapping) -> None:
    """Raise UserError that names what differs, if anything does, between the run in ``folder`` and this one.

    Both are flat, ``{"seed": 0, "settings.lr": 0.1}``.
    """
    differing = [
        f"{key.removeprefix('settings.')} (there {_short(there.get(key))}, here {_short(here.get(key))})"
        for key in dict.fromkeys([*here, *there])
        if there.get(key) != here.get(key)
    ]
    if differing:
        more = f"; and {len(differing) - MOST} more" if len(differing) > MOST else ""
        raise UserError(
            f"{folder} is the folder of another run: {'; '.join(differing[:MOST])}{more}; choose another --out"
        )


def _flat(run: Mapping) -> dict:
    settings = {f"settings.{key}": value for key, value in run.get("settings", {}).items()}
    return {key: value for key, value in run.items() if key != "settings"} | settings


def _short(value) -> str:
    """A hash by its first digits."""
    return value[:12] if isinstance(value, str) and len(value) == 64 else repr(value)
