"""A result is a flat record: one number with everything that is needed to trace it. This file alone knows the shape."""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from runtime.command_line import UserError
from runtime.files import write_json


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
    """``bbox``, ``segm``, ``keypoints``, ``classification`` or ``representation``."""
    metric: str
    """``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AP-<category>``, ``top1``, ``rank-intra-cov``..."""
    value: float
    """Percent, 0 to 100; of a ``representation``, in the unit of its metric."""
    seed: int
    commit: str
    weights_sha256: str
    """Hash of the weights file that was evaluated; empty for ``random``."""
    n: int
    """Images evaluated."""
    source: str = "measured"

    def __post_init__(self):
        percent = self.task != "representation"
        if not math.isfinite(self.value) or (percent and not 0 <= self.value <= 100):
            kind = "percentage" if percent else "finite number"
            raise ValueError(f"{self.task} {self.metric} is {self.value}, not a {kind}")


def write(path: str | Path, records: list[Record], **context) -> None:
    """Write ``records`` and what else is known of the run (``context``, plain values) to ``path`` as a whole."""
    write_json(path, {**context, "records": [asdict(record) for record in records]})


def read(path: str | Path) -> list[Record]:
    """Read the records of a result.json. Raises UserError if it is none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return [_typed(Record(**entry)) for entry in content["records"]]
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; run the stage that writes it") from error
    except (ValueError, KeyError, TypeError) as error:
        names = ", ".join(field.name for field in fields(Record))
        raise UserError(f"{path} is no result file ({error}); expected 'records' with {names}") from error


def _typed(record: Record) -> Record:
    """The record itself; ValueError if a value is of another kind than its field, as json allows."""
    for field in fields(Record):
        value, kinds = getattr(record, field.name), (int, float) if field.type is float else (field.type,)
        if type(value) not in kinds:
            raise ValueError(f"{field.name} is {value!r}, expected {field.type.__name__}")
    return record


def context(path: str | Path) -> dict:
    """What a result.json knows besides its records; empty if it is damaged."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {key: value for key, value in content.items() if key != "records"}
    except (OSError, ValueError, AttributeError):
        return {}


def flatten(metrics: dict[str, dict[str, float | None]], **common) -> list[Record]:
    """``{"bbox": {"AP": 41.0}}`` -> records; a metric without ground truth (None) has no record."""
    return [
        Record(task=task, metric=metric, value=value, **common)
        for task, values in metrics.items()
        for metric, value in values.items()
        if value is not None
    ]
