"""Classification with a backbone: nearest neighbours, a linear classifier, fine-tuning on all or few of the labels."""

from collections.abc import Iterable

from slurm.planning.experiment import Experiment
from slurm.planning.rows import Row
from slurm.planning.stage import Invocation
from slurm.planning.stages.backbones import untrained, weights_of


def knn(experiment: Experiment, row: Row) -> list[Invocation]:
    """Classify labelled images by their nearest neighbours."""
    return [probe(experiment, row, "knn", benchmark, f"knn-{benchmark}") for benchmark in experiment.knn]


def linear(experiment: Experiment, row: Row) -> list[Invocation]:
    """Train a linear classifier on frozen features, once per protocol and benchmark."""
    return of_protocols(experiment, row, "linear", experiment.linear)


def finetune(experiment: Experiment, row: Row) -> list[Invocation]:
    """Fine-tune on all labels, once per protocol and benchmark."""
    return of_protocols(experiment, row, "finetune", experiment.finetune)


def of_protocols(experiment: Experiment, row: Row, stage: str, protocols: Iterable[str]) -> list[Invocation]:
    """A probe per protocol and benchmark."""
    return [
        probe(experiment, row, stage, benchmark, f"{protocol}-{benchmark}", "--protocol", protocol)
        for protocol in protocols
        for benchmark in experiment.labelled
    ]


def semi(experiment: Experiment, row: Row) -> list[Invocation]:
    """Fine-tune on a fraction of the labels, once per fraction and benchmark."""
    invocations = []
    for protocol in experiment.semi:
        for percent in experiment.fractions:
            choice = ("--protocol", protocol, "--fraction", str(percent))
            invocations += [
                probe(experiment, row, "semi", benchmark, f"semi-{percent}pct-{benchmark}", *choice)
                for benchmark in experiment.labelled
            ]
    return invocations


def probe(experiment: Experiment, row: Row, stage: str, benchmark: str, leaf: str, *choice: str) -> Invocation:
    """A command that takes a backbone and labelled images, and writes to the folder ``leaf`` of the row."""
    settings = experiment.settings_for(stage, row)
    weights, inputs = weights_of(experiment, row)
    embedded = experiment.embedded_for(settings, benchmark=benchmark)
    folder = f"{row.folder(experiment.recipe)}/{leaf}"
    argv = [*choice, "--weights", weights, "--benchmark", benchmark]
    argv += ["--data", str(embedded.classification)] if embedded else []
    argv += ["--out", str(experiment.runs / folder), "--seed", str(row.seed)]
    if network := untrained(experiment, row):
        settings = {"network": network, **settings}
    needs = (*inputs, embedded.manifest) if embedded else inputs
    return Invocation(folder=folder, argv=argv, settings=settings, inputs=needs)
