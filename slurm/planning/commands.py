"""The commands of the stages: their own parsers turn settings into arguments, and check them.

Importing a command brings no torch: whoever submits jobs need not wait for it, or have it.
"""

import argparse
import functools
import importlib
from collections.abc import Mapping
from types import ModuleType

from runtime.command_line import UserError, one_of
from runtime.settings import BOOLEANS

PAIRS = "settings"
"""Name of the positional argument of a command that takes KEY=VALUE."""


@functools.cache
def command(module: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(module)


@functools.cache
def options(module: str) -> dict[str, bool]:
    """Option -> whether it takes a value, of a command; former spellings included, ``help`` left out."""
    return {
        name.removeprefix("--"): action.nargs != 0
        for action in command(module).parser()._actions
        for name in action.option_strings
        if name.startswith("--") and not isinstance(action, argparse._HelpAction)
    }


@functools.cache
def shown_options(module: str) -> list[str]:
    """The options that --help of a command shows."""
    actions = [action for action in command(module).parser()._actions if action.help != argparse.SUPPRESS]
    names = {name.removeprefix("--") for action in actions for name in action.option_strings}
    return [name for name in options(module) if name in names]


@functools.cache
def takes_pairs(module: str) -> bool:
    """Whether a command takes KEY=VALUE."""
    return any(action.dest == PAIRS and not action.option_strings for action in command(module).parser()._actions)


def arguments(module: str, settings: Mapping[str, str]) -> list[str]:
    """Settings as a command takes them: ``{"images": "2000"}`` -> ``["--images", "2000"]``.

    An option without a value is given where its setting is true. What is no option is KEY=VALUE, where the command
    takes such; else it raises UserError.
    """
    known = options(module)
    argv = []
    for key, text in settings.items():
        if key not in known:
            if not takes_pairs(module):
                one_of("setting", key, shown_options(module))
            argv.append(f"{key}={text}")
        elif not known[key]:
            if text.lower() not in BOOLEANS:
                raise UserError(f"expected true or false, got {text!r}")
            argv += [f"--{key}"] if BOOLEANS[text.lower()] else []
        elif text.startswith("-"):
            argv.append(f"--{key}={text}")
        else:
            argv += [f"--{key}", text]
    return argv


def check(module: str, argv: list[str]) -> tuple[str, ...]:
    """The faults of a command line, found by the command itself; empty if there is none."""
    try:
        command(module).parse(argv)
    except UserError as error:
        return error.faults
    return ()
