"""Features of labelled images, and what is measured of them: ranks, spectra, t-SNE, curves over training."""

from pathlib import Path

from slurm.planning.experiment import Experiment
from slurm.planning.rows import RANDOM, Row
from slurm.planning.stage import Invocation
from slurm.planning.stages.backbones import backbone, untrained, weights_of

OF_THE_IMAGES = ("images", "data", "format", "split", "size", "resize", "crops", "layer")
"""Settings of `features` that hold for `curves` too."""


def features(experiment: Experiment, row: Row) -> list[Invocation]:
    """Extract the features of labelled images, once for every measure."""
    settings = experiment.settings_for("features", row)
    weights, inputs = weights_of(experiment, row)
    if settings.get("layer", "backbone") != "backbone" and row.method != RANDOM:  # backbone.pth has no projector
        weights = str(backbone(experiment, row).with_name("checkpoint.pth"))
    invocations = []
    for benchmark in experiment.features:
        embedded = experiment.embedded_for(settings, benchmark=benchmark)
        file = features_of(experiment, row, benchmark)
        argv = ["--weights", weights]
        argv += ["--data", str(embedded.classification / "val")] if embedded else []
        argv += ["--benchmark", benchmark, "--seed", str(row.seed), "--out", str(file)]
        argv += ["--network", network] if (network := untrained(experiment, row)) else []
        folder = file.parent.relative_to(experiment.runs).as_posix()
        needs = (*inputs, embedded.manifest) if embedded else inputs
        invocations.append(Invocation(folder=folder, argv=argv, settings=settings, inputs=needs))
    return invocations


def effective_rank(experiment: Experiment, row: Row) -> list[Invocation]:
    """Measure how many directions the features use, within classes and between them."""
    return [measure(experiment, row, "effective_rank", benchmark) for benchmark in experiment.features]


def spectra(experiment: Experiment, row: Row) -> list[Invocation]:
    """Measure how the features' variance falls off; after the effective rank, which writes the same result.json."""
    invocations = []
    for benchmark in experiment.features:
        before = experiment.runs / row.folder(experiment.recipe) / f"analysis-{benchmark}" / "effective_rank.json"
        invocations.append(measure(experiment, row, "spectra", benchmark, before))
    return invocations


def measure(experiment: Experiment, row: Row, stage: str, benchmark: str, *after: Path) -> Invocation:
    """A command that takes a file of features and adds to the result.json of ``analysis-<benchmark>``."""
    file = features_of(experiment, row, benchmark)
    folder = f"{row.folder(experiment.recipe)}/analysis-{benchmark}"
    return Invocation(
        folder=folder,
        name=f"{folder}/{stage}",
        argv=[str(file), "--out", str(experiment.runs / folder)],
        settings=experiment.settings_for(stage, row),
        inputs=(file, *after),
    )


def tsne(experiment: Experiment, row: Row) -> list[Invocation]:
    """Draw the features of every row of the first seed side by side."""
    settings = experiment.settings_for("tsne")
    rows = [other for other in experiment.rows if other.seed == experiment.seeds[0]]
    invocations = []
    for benchmark in experiment.features:
        files = tuple(features_of(experiment, other, benchmark) for other in rows)
        folder = f"results/tsne-{benchmark}"
        invocations.append(
            Invocation(
                folder=folder,
                argv=[*map(str, files), "--out", str(experiment.runs / folder)],
                settings=settings,
                inputs=files,
                outputs=(f"{settings.get('method', 'tsne')}.json",),
            )
        )
    return invocations


def curves(experiment: Experiment, row: Row) -> list[Invocation]:
    """Measure every kept checkpoint of every row of the first seed, on the images that the features are of."""
    of_features = experiment.settings_for("features")
    settings = {key: value for key, value in of_features.items() if key in OF_THE_IMAGES}
    settings.update(experiment.settings_for("curves"))
    rows = [other for other in experiment.rows if other.seed == experiment.seeds[0] and other.method != RANDOM]
    invocations = []
    for benchmark in experiment.features:
        embedded = experiment.embedded_for(settings, benchmark=benchmark)
        folder = f"results/curves-{benchmark}"
        argv = [str(experiment.runs / other.folder(experiment.recipe)) for other in rows]
        argv += ["--data", str(embedded.classification / "val")] if embedded else []
        argv += ["--out", str(experiment.runs / folder)]
        inputs = [backbone(experiment, other) for other in rows] + ([embedded.manifest] if embedded else [])
        invocations.append(Invocation(folder=folder, argv=argv, settings=settings, inputs=tuple(inputs)))
    return invocations


def features_of(experiment: Experiment, row: Row, benchmark: str) -> Path:
    """The file of a row's features."""
    return experiment.runs / row.folder(experiment.recipe) / f"features-{benchmark}" / "features.safetensors"
