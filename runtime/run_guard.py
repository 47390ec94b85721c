"""Whose a folder is: no run continues or overwrites what another one left, and one writes in it at a time.

What decides a run's outcome is kept in a record in its folder (``run.json``; ``config.yaml`` of pretraining), which is
locked while the run writes (`folder_lock`).
"""

import contextlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from runtime.command_line import UserError, shortened
from runtime.files import write_json, write_text
from runtime.folder_lock import LOCK, lock, release, sweep
from runtime.read import read_json, read_yaml
from runtime.settings import flat

FILE = "run.json"
"""The record of a run."""

MOST = 5
"""How many differences are named; another protocol has hundreds."""


@dataclass(frozen=True, kw_only=True)
class RunGuard:
    """Keeps a folder for one run."""

    folder: Path

    outputs: Sequence[str]
    """Patterns of file names; a run that has left none of them has no claim on its folder."""

    file: str = FILE
    """Name of the record."""

    exclusive: bool = False
    """Refuse a folder without a record that holds anything else than a killed run's litter."""

    free: Collection[str] = ()
    """Dotted keys of the record that may change when a run goes on."""

    instead: Mapping[str, str] = field(default_factory=dict)
    """Key -> another key that says more: where both records have that one, the first may change (a path, the hash)."""

    defaults: Mapping[str, Any] | None = None
    """Dotted key -> value of a setting that may be younger than the record: what was done before it came. Where given,
    keys of the record that the run no longer has are passed over."""

    chosen: Collection[str] = ()
    """Dotted keys whose value the machine chose: where one alone differs, the error says how to go on with the old."""

    recover: Callable[[], Mapping[str, Any] | None] = lambda: None
    """The record from another source, where the file is gone or damaged; None where there is none."""

    def claim(self, run: Mapping[str, Any], *, every_rank: bool = True) -> None:
        """Make the folder that of ``run``, or recognise it as such, and hold it until `release`.

        ``run`` is what decides the outcome, as plain values. Of several ranks all check, and the first one locks and
        writes; temporary files of a killed process go. Raises UserError as `check` and `lock` do.

        Args:
            every_rank: all ranks call this, and meet in it; else the first one alone does.
        """
        from runtime import distributed  # torch, which who only reads records does not need

        if distributed.is_main():
            lock(self.folder)
        try:
            self.check(run)
            if every_rank:
                distributed.barrier()  # every rank has looked before the first one writes
            if distributed.is_main():
                sweep(self.folder)
                write(self.folder, run, file=self.file)
        except BaseException:
            release(self.folder)
            raise

    def check(self, run: Mapping[str, Any]) -> None:
        """Raise UserError if the folder holds another run, or one of which nothing is known."""
        outputs = [path for name in self.outputs for path in self.folder.glob(name)]
        if folders := [path for path in outputs if path.is_dir()]:
            raise UserError(f"{folders[0]} is a folder, and a run writes a file there; move it away")
        left = [path.relative_to(self.folder) for path in outputs]
        if left:
            record = self._record()
            if record is None:
                raise UserError(
                    f"{self.folder} holds a {left[0]} of unknown origin (no {self.file}); choose another --out"
                )
            there, here = flat(record), flat(run)
            replaced = [key for key, better in self.instead.items() if better in there and better in here]
            if self.defaults is not None:
                there = {key: there.get(key, self.defaults.get(key)) for key in here}
            for key in (*self.free, *replaced):
                there.pop(key, None)
                here.pop(key, None)
            refuse_another(self.folder, there, here, chosen=self.chosen)
        elif self.exclusive and not (self.folder / self.file).exists() and (found := foreign(self.folder)):
            raise UserError(
                f"{self.folder} is not empty and holds no run (no {self.file}, but {found}); choose another --out"
            )

    def began_with(self, key: str) -> Any:
        """The value of a dotted ``key`` in the record of the run that is there; None where none is, or not readable."""
        if not any(True for name in self.outputs for _ in self.folder.glob(name)):
            return None
        record = None
        with contextlib.suppress(UserError):
            record = read(self.folder, self.file)
        return flat(record or self.recover() or {}).get(key)

    def release(self) -> None:
        """Give up the folder, if this process holds it."""
        release(self.folder)

    def _record(self) -> Mapping[str, Any] | None:
        """The record, or what else says the same; None where neither is there. Raises UserError for a damaged one."""
        fault = None
        try:
            if record := read(self.folder, self.file):
                return record
        except UserError as error:
            fault = error
        recovered = self.recover()
        if recovered is None and fault:
            raise fault
        if recovered is not None:
            path = self.folder / self.file
            print(f"{path} is missing or damaged; going by what the checkpoint says of the run", file=sys.stderr)
        return recovered


def read(folder: Path, file: str = FILE) -> dict[str, Any]:
    """The record of the run in ``folder``; empty if it has none. Raises UserError if it is damaged."""
    path = folder / file
    if not path.exists():
        return {}
    remedy = "restore it, or choose another --out"
    content = read_yaml(path, remedy=remedy) if path.suffix == ".yaml" else read_json(path, remedy=remedy)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not the settings of a run; {remedy}")
    return content


def write(folder: Path, run: Mapping[str, Any], *, file: str = FILE) -> None:
    """Write the record of a run; one that says the same already stays as it is."""
    path = folder / file
    with contextlib.suppress(UserError):
        if path.exists() and read(folder, file) == run:
            return
    if path.suffix == ".yaml":
        write_text(path, yaml.safe_dump(dict(run), sort_keys=False))
    else:
        write_json(path, dict(run))


def refuse_another(
    folder: Path, there: Mapping[str, Any], here: Mapping[str, Any], *, chosen: Collection[str] = ()
) -> None:
    """Raise UserError that names what differs, if anything does, between the run in ``folder`` and this one.

    Both are flat, ``{"seed": 0, "settings.lr": 0.1}``; ``chosen`` is as in `RunGuard`.
    """
    keys = [key for key in dict.fromkeys([*here, *there]) if there.get(key) != here.get(key)]
    if len(keys) == 1 and keys[0] in chosen:
        name, before = keys[0].removeprefix("settings."), there.get(keys[0])
        raise UserError(
            f"{folder} holds a run begun with {name}={before}, and here {name} is {here.get(keys[0])}; go on with "
            f"{name}={before}, or choose another --out"
        )
    differing = [
        f"{key.removeprefix('settings.')} (there {_short(there.get(key))}, here {_short(here.get(key))})"
        for key in keys
    ]
    if differing:
        more = f"; and {len(differing) - MOST} more" if len(differing) > MOST else ""
        raise UserError(
            f"{folder} is the folder of another run: {'; '.join(differing[:MOST])}{more}; choose another --out"
        )


def foreign(folder: Path) -> str:
    """The name of something in ``folder`` that no killed run leaves; empty if there is none."""
    if not folder.is_dir():
        return ""
    names = sorted(path.name for path in folder.iterdir())
    return next((name for name in names if name != LOCK and not (name[0] == "." and name.endswith(".tmp"))), "")


def _short(value: Any) -> str:
    """A hash by its first digits, any other value by its first letters."""
    return value[:12] if isinstance(value, str) and len(value) == 64 else shortened(repr(value), 60)
