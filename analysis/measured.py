"""Measures of a representation as records, like any other result."""

from pathlib import Path

from analysis.feature_file import Features
from pretrain.provenance import commit
from transfer import results
from transfer.results import Record


def write(path: Path, features: Features, values: dict[str, float], *, n: int, **context) -> None:
    """Write ``values`` (metric -> number) to a result.json as records of the task ``representation``; n images."""
    about = features.about
    run = {key: about[key] for key in ("method", "recipe", "variant", "epochs", "benchmark", "seed", "weights_sha256")}
    records = [
        Record(
            **run,
            protocol=f"features-{about['layer']}",
            task="representation",
            metric=metric,
            value=value,
            commit=commit(),
            n=n,
        )
        for metric, value in values.items()
    ]
    source = {key: about[key] for key in ("layer", "settings", "images_sha256", "commit")}
    results.write(path, records, features=source, **context)
    print(f"written: {path}")
