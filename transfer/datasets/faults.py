"""What is wrong with a data set: faults as values, their lines made from them."""

from collections.abc import Iterable
from dataclasses import dataclass

from runtime.command_line import UserError, printable, shortened

EXAMPLES = 3
"""Entries of a kind of fault that are named."""

SHOWN = 60
"""Characters of a value or name that a message shows."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a data set."""

    kind: str
    """What is wrong, in the same words for every entry it is true of."""
    entry: str
    """The entry: ``annotation id 12``."""
    detail: str = ""
    """Its values."""
    stops: bool = True
    """Whether training and evaluation refuse the data set; else it is a warning."""
    annotation: int | None = None
    """Position in the list of annotations, of a fault that makes one impossible to read or draw."""

    @property
    def message(self) -> str:
        return f"{self.entry} {self.kind}" + (f" ({self.detail})" if self.detail else "")


def refuse(source: object, faults: Iterable[Fault]) -> None:
    """Raise UserError with a line for each kind of fault that stops; none, and nothing happens."""
    if lines := described(fault for fault in faults if fault.stops):
        raise UserError.of(f"{source}: {line}; correct it (transfer/check_data.py lists all faults)" for line in lines)


def described(faults: Iterable[Fault]) -> list[str]:
    """One line for each kind of fault, with its first entries."""
    groups: dict[tuple[bool, str], list[Fault]] = {}
    for fault in faults:
        groups.setdefault((not fault.stops, fault.kind), []).append(fault)
    lines = []
    for (_, kind), members in sorted(groups.items(), key=lambda group: group[0]):
        if len(members) == 1:
            lines.append(members[0].message)
            continue
        examples = [fault.entry + (f" ({fault.detail})" if fault.detail else "") for fault in members[:EXAMPLES]]
        more = f" and {len(members) - EXAMPLES} more" if len(members) > EXAMPLES else ""
        lines.append(f"{len(members)} x {kind}: {'; '.join(examples)}{more}")
    return lines


def shown(value) -> str:
    """A value of a file as a message may show it: short, escaped."""
    return shortened(printable(repr(value)), SHOWN)
