"""Fine-tuning a detector."""

import functools

from runtime.command_line import UserError
from runtime.provenance import ROOT
from runtime.read import read_yaml
from slurm.planning.experiment import Experiment
from slurm.planning.rows import RANDOM, Row
from slurm.planning.stage import Invocation
from slurm.planning.stages.backbones import untrained

TRIALS = "TRANSFER.TRIALS"


def transfer(experiment: Experiment, row: Row) -> list[Invocation]:
    """Fine-tune Mask R-CNN, once per protocol and benchmark, or as many times as the protocol's literature does."""
    settings = experiment.settings_for("transfer", row)
    if network := untrained(experiment, row):
        settings = {"TRANSFER.BACKBONE": network, **settings}
    row_folder = row.folder(experiment.recipe)
    converted = experiment.runs / row_folder / "convert" / "backbone.pkl"
    weights, inputs = (RANDOM, ()) if row.method == RANDOM else (str(converted), (converted,))
    invocations = []
    for protocol, benchmark in ((p, b) for p in experiment.protocols for b in experiment.benchmarks):
        embedded = experiment.embedded_for(settings, benchmark=benchmark)
        number = trials(protocol, settings.get(TRIALS))
        for seed in range(row.seed * number, (row.seed + 1) * number):
            folder = f"{row_folder}/{protocol}-{benchmark}" + (f"/seed{seed}" if number > 1 else "")
            argv = ["--protocol", protocol, "--benchmark", benchmark, "--weights", weights]
            argv += ["--out", str(experiment.runs / folder), "--seed", str(seed)]
            argv += ["--data", str(embedded.folder)] if embedded else []
            needs = (*inputs, embedded.manifest) if embedded else inputs
            invocations.append(Invocation(folder=folder, argv=argv, settings=settings, inputs=needs))
    return invocations


def trials(protocol: str, given: str | None) -> int:
    """How many runs to average: the number given, else TRANSFER.TRIALS of the protocol's yaml, else 1."""
    if given is None:
        return trials_of(protocol)
    if not (given.isdecimal() and int(given)):
        raise UserError(f"transfer.{TRIALS}={given}: expected a whole number from 1")
    return int(given)


@functools.cache
def trials_of(protocol: str) -> int:
    """The runs that a protocol of ours averages; 1 for any other, which the command itself refuses."""
    path = ROOT / "transfer" / "protocols" / f"{protocol}.yaml"
    if not path.is_file():
        return 1
    return read_yaml(path).get("TRANSFER", {}).get("TRIALS", 1)
