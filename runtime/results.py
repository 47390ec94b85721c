"""A result is a flat record: one number with everything that is needed to trace it. This file alone knows the shape."""

import math
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from runtime.command_line import UserError, printable, shortened
from runtime.files import write_json
from runtime.read import read_json

TASKS = ("bbox", "segm", "keypoints", "classification", "representation", "language")

CONTEXT_KINDS: dict[str, tuple[type, ...]] = {
    "protocol_version": (int,),
    "scale": (int,),
    "changed_from_protocol": (dict,),
    "settings": (dict,),
    "labelled": (dict,),
    "features": (dict,),
    "weights": (dict,),
    "wall_s": (int, float),
    "processes": (int,),
    "device": (str,),
}
"""What a result.json may say of its run, where a reader relies on its type; anything else passes as it is."""

LONGEST_TEXT = 1000
"""Characters of a name in a record."""

MOST_COUNTED = 10**9
"""Images, questions or epochs of a record; a larger number is damage, and may be too large for a float."""

REMEDY = "delete it and run the same command again"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One metric of one run."""

    method: str
    """Name of the pretraining method, ``random`` for the row from scratch."""
    recipe: str
    """Its pretraining recipe; empty for ``random``."""
    variant: str = ""
    """How the row differs from its recipe, ``gamma=0.3``; empty if it does not."""
    epochs: int
    """Passes over the pretraining data; 0 for ``random``."""
    benchmark: str
    protocol: str
    task: str
    """One of ``TASKS``."""
    metric: str
    """``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AP-<category>``, ``top1``, ``rank-intra-cov``..."""
    value: float
    """Percent, 0 to 100; of a ``representation``, in the unit of its metric."""
    seed: int
    commit: str
    backbone: str = ""
    """Name of the network (pretrain/backbones); empty in results from before there was a choice, and of language."""
    weights_sha256: str
    """Hash of the weights file that was evaluated; empty for ``random``."""
    n: int
    """Images evaluated; of a language model, questions."""
    source: str = "measured"

    def __post_init__(self):
        percent = self.task != "representation"
        if not math.isfinite(self.value) or (percent and not 0 <= self.value <= 100):
            kind = "percentage" if percent else "finite number"
            raise ValueError(f"{self.task} {self.metric} is {self.value}, not a {kind}")


class Result(NamedTuple):
    """A result.json."""

    records: list[Record]
    context: dict[str, Any]
    """What else the file says of the run, by the names of ``write``'s arguments."""


class NoResult(UserError):
    """There is no file: its run has not ended yet, or its folder was moved or removed."""


class DamagedResult(UserError):
    """There is a file, and it is not the result of a run."""


def write(path: str | Path, records: list[Record], **context) -> None:
    """Write ``records`` and what else is known of the run (``context``, plain values) to ``path`` as a whole."""
    write_json(path, {**context, "records": [asdict(record) for record in records]})


def read_result(path: str | Path) -> Result:
    """The content of a result.json, checked.

    A result is written as a whole, so a file that is not whole is damaged, never half written.

    Raises NoResult where there is none and DamagedResult where it is not what ``write`` writes: no JSON, a field that
    is missing, unknown or of another type, a value that is no number, an unknown task.
    """
    path = Path(path)
    try:
        content = read_json(path, remedy=REMEDY)
    except UserError as error:
        if not path.exists():
            raise NoResult(f"{path} does not exist; run the command that writes it") from error
        raise DamagedResult(*error.faults) from error
    try:
        return _checked(content)
    except (ValueError, OverflowError) as error:
        raise DamagedResult(f"{path} is no result file ({error}); {REMEDY}") from error


def read(path: str | Path) -> list[Record]:
    """The records of a result.json. Raises UserError as ``read_result`` does."""
    return read_result(path).records


def is_whole(path: str | Path, *, quiet: bool = False) -> bool:
    """Whether the result is there and whole. A damaged one is named on stderr: its command makes it again."""
    try:
        read_result(path)
    except NoResult:
        return False
    except DamagedResult as error:
        if not quiet:
            print(f"note: {printable(shortened(error.faults[0]))}; it is made again", file=sys.stderr)
        return False
    return True


def context(path: str | Path) -> dict[str, Any]:
    """What a result.json says besides its records; empty where there is none, or a damaged one."""
    try:
        return read_result(path).context
    except UserError:
        return {}


def _checked(content: Any) -> Result:
    """Raises ValueError that says what is wrong."""
    if not isinstance(content, dict) or not isinstance(content.get("records"), list):
        raise ValueError("expected an object with a list 'records'")
    for key, kinds in CONTEXT_KINDS.items():
        if key in content and type(content[key]) not in kinds:
            raise ValueError(_other_kind(key, content[key], kinds[-1]))
    records = []
    for number, entry in enumerate(content["records"], 1):
        try:
            records.append(_record(entry))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"record {number}: {error}") from error
    return Result(records, {key: value for key, value in content.items() if key != "records"})


def _record(entry: Any) -> Record:
    if not isinstance(entry, dict):
        raise ValueError(_other_kind("it", entry, dict))
    if unknown := entry.keys() - FIELDS.keys():
        raise ValueError(f"unknown {', '.join(sorted(unknown))}; expected {', '.join(FIELDS)}")
    if missing := FIELDS.keys() - OPTIONAL - entry.keys():
        raise ValueError(f"{', '.join(sorted(missing))} missing; expected {', '.join(FIELDS)}")
    for name, value in entry.items():
        kinds = (int, float) if FIELDS[name] is float else (FIELDS[name],)
        if type(value) not in kinds or isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise ValueError(_other_kind(name, value, kinds[-1]))
    if entry["task"] not in TASKS:
        raise ValueError(f"task is {shortened(repr(entry['task']), 60)}, expected one of {', '.join(TASKS)}")
    for name, least in (("n", 1), ("epochs", 0)):
        if not least <= entry[name] <= MOST_COUNTED:
            raise ValueError(f"{name} is {shortened(str(entry[name]), 60)}, expected {least} to {MOST_COUNTED}")
    return Record(**entry)


def _other_kind(name: str, value: Any, kind: type) -> str:
    most = f" of at most {LONGEST_TEXT} characters" if kind is str else ""
    return f"{name} is {shortened(repr(value), 60)}, expected {NAMES[kind]}{most}"


FIELDS: dict[str, type] = {field.name: field.type for field in fields(Record)}  # type: ignore[misc]

OPTIONAL = {"variant", "backbone", "source"}

NAMES = {int: "a whole number", float: "a number", str: "a text", dict: "an object"}


def flatten(metrics: dict[str, dict[str, float | None]], **common) -> list[Record]:
    """``{"bbox": {"AP": 41.0}}`` -> records; a metric without ground truth (None) has no record."""
    return [
        Record(task=task, metric=metric, value=value, **common)
        for task, values in metrics.items()
        for metric, value in values.items()
        if value is not None
    ]
