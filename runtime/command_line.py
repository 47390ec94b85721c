"""What every command line of the suite shares: errors a user can cause are one line and exit code 2."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

# `python pretrain/train.py` puts pretrain/ first on the path, where data.py or train.py would shadow other
# people's modules of the same name; the packages themselves are installed, so the entry is only a trap.
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("runtime", "pretrain", "transfer", "analysis", "slurm", "tools")
if sys.path and Path(sys.path[0]).resolve() in {ROOT / name for name in PACKAGES}:
    del sys.path[0]


class UserError(ValueError):
    """Something the user can put right: what was expected, what was found, what to do, in one line."""


def one_of(kind: str, name: str, known: Iterable[str]) -> str:
    """Return ``name`` if it is among ``known``; else raise a UserError that lists them."""
    known = sorted(known)
    if name not in known:
        raise UserError(f"unknown {kind} {name!r}; known: {', '.join(known)}")
    return name


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are one line, like every other error."""

    def error(self, message: str):
        raise UserError(f"{message} (see --help)")


def run(main: Callable[[], int | None]) -> None:
    """Run a command line and exit: 0 (or what ``main`` returns), 2 after a UserError, 130 after Ctrl-C.

    Only UserError is turned into a line; any other exception is a bug of ours and keeps its traceback.
    """
    try:
        refuse_another_checkout(getattr(sys.modules["__main__"], "__file__", None))
        code = main() or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # `... | head`: the reader left, and that is no error of anyone's
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
            f"{script} is of the checkout {home}, but this Python has the packages of {ROOT}; "
            f"run `make setup` in {home} and use its .venv/bin/python"
        )
