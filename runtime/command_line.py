"""What every command line of the suite shares: errors a user can cause are lines (``error: ...``) and exit code 2."""

import argparse
import contextlib
import difflib
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

# `python pretrain/train.py` puts pretrain/ first on the path, where data.py or train.py would shadow other
# people's modules of the same name; the packages themselves are installed, so the entry is only a trap.
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("runtime", "pretrain", "transfer", "language", "analysis", "slurm", "tools")
_is_script = bool(sys.path) and Path(sys.path[0]).resolve() in {ROOT / name for name in PACKAGES}
if _is_script:
    del sys.path[0]


def _say_interrupted(kind: type[BaseException], error: BaseException, trace) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if _is_script or sys.argv[:1] == ["-m"]:  # Ctrl-C while a command is still importing is one line as well
    sys.excepthook = _say_interrupted


LINE = 300
"""Longest line of an error, characters: an input decides what is in it, not how long it is."""

MOST_FAULTS = 40
"""How many faults are printed; the rest is counted."""

Number = TypeVar("Number", int, float)


class UserError(argparse.ArgumentTypeError, ValueError):
    """Something the user can put right. Each of ``faults`` is a line: what was expected, what was found, what to do.

    An ``argparse`` type may raise it: the line then names the option.
    """

    @classmethod
    def of(cls, faults: Iterable[str]) -> "UserError":
        """One error of several faults; a fault that is there twice is said once."""
        return cls(*dict.fromkeys(faults))

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(str(fault) for fault in self.args)

    def __str__(self) -> str:
        return "\n".join(self.faults)


class Faults(list[str]):
    """Collects the faults of several checks, so that the user hears of all at once.

    faults = Faults()
    with faults.collected():
        check_data()
    faults.check()
    """

    @contextlib.contextmanager
    def collected(self, source: str = "") -> Iterator[None]:
        """Note the faults of a UserError raised inside, each after ``source``, and go on behind the block."""
        try:
            yield
        except UserError as error:
            self.extend(f"{source}: {fault}" if source else fault for fault in error.faults)

    def check(self) -> None:
        """Raise UserError of all that was collected, if anything was."""
        if self:
            raise UserError.of(self)


def printable(text: object) -> str:
    """``text`` as a terminal may show it: control and invisible ones are escaped, ``\\x1b``, ``\\n``, ``\\u202e``."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def shortened(text: str, most: int = LINE) -> str:
    """``text`` of at most ``most`` characters: of a longer one the middle is left out."""
    if len(text) <= most:
        return text
    first = (most - 5) * 2 // 3
    return f"{text[:first]} ... {text[len(text) - (most - 5 - first) :]}"


def error_lines(error: UserError) -> list[str]:
    """The lines that are printed for an error: escaped, none longer than LINE, no more than MOST_FAULTS."""
    shown = [shortened(f"error: {printable(shortened(fault))}") for fault in error.faults[:MOST_FAULTS]]
    if len(error.faults) > MOST_FAULTS:
        shown.append(f"error: and {len(error.faults) - MOST_FAULTS} more")
    return shown


def one_of(kind: str, name: str, known: Iterable[str]) -> str:
    """Return ``name`` if it is among ``known``; else raise a UserError that lists them."""
    known = sorted(known)
    if name not in known:
        raise UserError(f"unknown {kind} {shortened(repr(name), 60)}; known: {listed(name, known)}")
    return name


def listed(name: str, known: Sequence[str]) -> str:
    """The ``known`` names between commas; where they are many, those like ``name`` first, for a long line is cut."""
    text = ", ".join(known)
    if len(text) <= LINE // 2:
        return text
    near = difflib.get_close_matches(shortened(name, 60), known, n=3)
    return ", ".join(dict.fromkeys([*near, *known]))


def words(text: str) -> list[str]:
    """``a, b`` -> ``["a", "b"]``: what stands between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(
    text: str, kind: Callable[[str], Number] = int, *, least: float = 0, above: float | None = None
) -> list[Number]:
    """``0,1`` -> ``[0, 1]``: finite numbers of at least ``least`` (or ``above`` a bound), each named once.

    Raises UserError where there is none, or one is named twice, too small or no number.
    """
    found = []
    for word in words(text) or [""]:
        try:
            number = kind(word)
        except ValueError:
            number = math.nan
        fits = least <= number < math.inf and (above is None or number > above)
        if not (fits and word.isascii() and "_" not in word):
            name = "whole numbers" if kind is int else "numbers"
            bound = f"of at least {least:g}" if above is None else f"above {above:g}"
            raise UserError(f"expected {name} {bound} between commas, got {shortened(repr(text), 60)}")
        if number in found:
            raise UserError(f"{word} is given twice in {shortened(repr(text), 60)}")
        found.append(number)
    return found


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UserError, so that a mistake is one line like every other error."""

    def error(self, message: str):
        raise UserError(f"{message} (see --help)")


def run(main: Callable[[], int | None]) -> None:
    """Run a command line and exit: 0 (or what ``main`` returns), 2 after a UserError, 130 after Ctrl-C.

    Only UserError is turned into a line; any other exception is a bug of ours and keeps its traceback.
    """
    with contextlib.suppress(AttributeError, ValueError, OSError):  # a file name that is no text is shown escaped
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    try:
        refuse_another_checkout(getattr(sys.modules["__main__"], "__file__", None))
        code = main() or 0
        sys.stdout.flush()
    except UserError as error:
        print("\n".join(error_lines(error)), file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # `... | head`: the reader left, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def refuse_another_checkout(script: str | None) -> None:
    """Raise UserError if the script is of one checkout and the packages it imports are of another.

    Its results would carry the commit of code that the user does not mean.
    """
    home = Path(script).resolve().parent.parent if script else ROOT
    if home != ROOT and (home / "runtime" / "command_line.py").is_file():
        raise UserError(
            f"{Path(script or home).name} is of the checkout {home}, but this Python has the packages of {ROOT}; "
            "run `make setup` in the former and use its .venv/bin/python"
        )
