"""Texts of the user in batch scripts: one quoter for words of the shell, one check of what sbatch can hold."""

import re
import shlex

from runtime.command_line import UserError, printable, shortened

VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)


def shell_word(text: str) -> str:
    """A word of a cluster file as a shell takes it: ``$NAME`` is filled in on the node, all else stays as it is."""
    parts, end = [], 0
    for match in VARIABLE.finditer(text):
        parts += [text[end : match.start()], f'"${{{match[1] or match[2]}}}"']
        end = match.end()
    parts.append(text[end:])
    return "".join(part if k % 2 else shlex.quote(part) for k, part in enumerate(parts) if part) or "''"


def shell_words(text: str, *, source: str) -> str:
    """A command of a cluster file, word by word. Raises UserError, naming ``source``, for a quote without its end."""
    try:
        return " ".join(shell_word(word) for word in shlex.split(text))
    except ValueError as error:
        raise UserError(f"{source} is {text!r}, which no shell can read ({error}); correct its quotes") from error


def sbatch_option(key: str, value: object, *, source: str) -> None:
    """Raise UserError, naming ``source``, where a line ``#SBATCH --key=value`` could not hold an option.

    submitit puts the value in quotes, as sbatch reads them; a line break would end the line all the same.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key):
        raise UserError(f"{source}: {shown(key)} is no option of sbatch; expected a name such as mail-type")
    if not str(value).isprintable():
        raise UserError(f"{source}: {key} is {shown(value)}, with a character that is not printable; leave it out")


def log_folder(folder: object) -> str:
    """A folder as sbatch takes it for logs. Raises UserError for characters that SLURM replaces in their names."""
    text = str(folder)
    if "%" in text or "\\" in text or not text.isprintable():
        raise UserError(
            f"{shown(text)} cannot hold logs of SLURM, which reads % and \\ in a file's name as patterns; choose "
            "names and a --runs folder of printable characters without them"
        )
    return text


def shown(value: object) -> str:
    """A value as an error line quotes it."""
    return shortened(printable(repr(str(value))), 80)
