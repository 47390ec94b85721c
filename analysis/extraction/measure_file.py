"""Measures of a representation: one JSON file per command, and records beside those of other commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.extraction.feature_file import Features
from runtime import results
from runtime.command_line import UserError
from runtime.files import write_json
from runtime.provenance import commit
from runtime.results import Record

RUN = ("method", "recipe", "variant", "epochs", "benchmark", "seed", "weights_sha256")
SOURCE = ("layer", "images_sha256", "weights_sha256", "settings", "commit")


def write(
    folder: Path,
    command: str,
    features: Features,
    values: dict[str, float],
    *,
    n: int,
    other_n: Mapping[str, int] | None = None,
    **context,
) -> None:
    """Write FOLDER/COMMAND.json and put ``values`` (metric -> number, of n images) into FOLDER/result.json.

    ``other_n`` names the metrics that looked at another number of images.

    Records of other commands on the same features stay. Raises UserError if the folder is of other features.
    """
    if absent := [key for key in (*RUN, *SOURCE) if key not in features.about]:
        raise UserError(f"{features.about['path']} does not say its {absent[0]}; extract it again")
    source = {key: features.about[key] for key in SOURCE}
    path = folder / "result.json"
    kept = []
    if path.exists():
        measured, context_there = results.read_result(path)
        there = context_there.get("features", {})
        if any(there.get(key) != source[key] for key in SOURCE[:3]):
            raise UserError(f"{path} measures other features than {features.about['path']}; choose another --out")
        kept = [record for record in measured if record.metric not in values]
    run: dict[str, Any] = {key: features.about[key] for key in RUN}
    run |= {"protocol": f"features-{features.about['layer']}", "backbone": features.about.get("backbone", "")}
    n_of = {metric: count for metric, count in (other_n or {}).items() if count != n}
    made = [
        Record(task="representation", metric=metric, value=value, commit=commit(), n=n_of.get(metric, n), **run)
        for metric, value in values.items()
    ]
    context |= {"other_n": n_of} if n_of else {}
    write_json(folder / f"{command}.json", {"values": values, "n": n, **context, "features": source})
    results.write(path, kept + made, features=source)
    print(f"written: {folder / command}.json, {path}")
