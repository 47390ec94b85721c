"""Everything that can be wrong with a plan before anything runs; all faults are found, not just the first."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pretrain
import transfer
from pretrain.command_line import UserError, one_of
from slurm import here, sbatch
from slurm.cluster import Cluster
from slurm.graph import Job
from slurm.plan import Plan
from slurm.stages import RANDOM


def faults_of(plan: Plan, stages: Iterable[str]) -> list[str]:
    """One sentence for each name that is not known and each setting that is missing."""
    stages = set(stages)
    faults = unknown("method", plan.methods, [*methods(), RANDOM])
    if "pretrain" in stages and not plan.recipe.endswith(".yaml"):
        faults += unknown("recipe", [plan.recipe], recipes())
    if "transfer" in stages:
        faults += unknown("protocol", plan.protocols, protocols())
        if "train-json" not in plan.told("transfer"):
            faults += unknown("benchmark", plan.benchmarks, benchmarks())
    trained = [method for method in plan.methods if method != RANDOM]
    if "pretrain" in stages and trained and not (plan.draws_its_data or "data.root" in plan.told("pretrain")):
        faults.append("say where the images for pretraining are: pretrain.data.root=DIR")
    for what in ("methods", "seeds"):
        if not getattr(plan, what):
            faults.append(f"no {what}")
        elif len(set(getattr(plan, what))) < len(getattr(plan, what)):
            faults.append(f"{what} named twice: {', '.join(map(str, getattr(plan, what)))}")
    return faults


def impossible(jobs: Iterable[Job], place: Cluster) -> list[str]:
    """One sentence per stage that asks for what the place has not got."""
    faults = {}
    for job in jobs:
        if place.executor == "slurm":
            faults[job.stage] = caught(sbatch.shape, job, place)
        elif job.resources.gpus > len(here.visible_gpus()):
            faults[job.stage] = (
                f"{job.stage} asks for {job.resources.gpus} GPUs and this machine has {len(here.visible_gpus())}; "
                f"ask for fewer ({job.stage}.resources.gpus=0: none) or choose a --cluster"
            )
    return [fault for fault in faults.values() if fault]


def stop_at(faults: list[str]) -> None:
    """Raise UserError that names every fault, in one line; nothing if there is none."""
    if faults:
        raise UserError(f"{len(faults)} faults: {'; '.join(faults)}" if len(faults) > 1 else faults[0])


def unknown(kind: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    known = list(known)
    return [fault for name in names if (fault := caught(one_of, kind, name, known))]


def caught(function: Callable, *args) -> str:
    """The message of the UserError that a call raises; empty if it raises none."""
    try:
        function(*args)
    except UserError as error:
        return str(error)
    return ""


def methods() -> list[str]:
    from pretrain.methods import available

    return available()


def recipes() -> list[str]:
    return [path.stem for path in (Path(pretrain.__file__).parent / "recipes").glob("*.yaml")]


def protocols() -> list[str]:
    files = (Path(transfer.__file__).parent / "protocols").glob("*.yaml")
    return [path.stem for path in files if not path.stem.startswith("_")]


def benchmarks() -> list[str]:
    from transfer.benchmarks import available

    return available()
