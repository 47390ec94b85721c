"""The stages: which command each one runs, from which files, to which files, and what it asks of a machine.

A new stage is one function and one entry in STAGES. Nothing else needs to know it: what a job waits for follows
from the files, because a job comes after the jobs that write what it reads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slurm.plan import Plan

RANDOM = "random"
"""The row that is fine-tuned from random initialisation; it has nothing to pretrain or convert."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job asks for."""

    gpus: int = 0
    """GPUs of the whole job, one task each; 0 is one task without a GPU."""

    cpus: int = 4
    """CPU cores of each task."""

    mem_gb: float = 8
    """Memory of each task."""

    hours: float = 1
    """Time limit of one submission, not of the work: at the limit a job saves, queues itself again and goes on."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pretrained backbone, or the absence of one: a method and a seed."""

    method: str
    seed: int

    def folder(self, plan: Plan) -> str:
        recipe = "" if self.method == RANDOM else f"-{Path(plan.recipe).stem}"
        return f"{self.method}{recipe}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Work:
    """One call of a stage's command."""

    folder: str
    """Where it writes, relative to the runs folder; also the name of the job."""

    argv: list[str]
    """The arguments of the command."""

    inputs: tuple[Path, ...] = ()
    """Files that have to exist before it starts."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A kind of job."""

    module: str
    """The module whose ``main(argv)`` is run."""

    work: Callable[[Plan, Row], list[Work]]
    """What is to be called for a plan and a row."""

    outputs: tuple[str, ...] = ()
    """Files in the job's folder that are all there once it is complete; none: it is run every time."""

    per_row: bool = True
    """False: once for the whole plan."""

    last: bool = False
    """Waits for every other job of the graph."""

    implies: tuple[str, ...] = ()
    """Stages that are run along; those with nothing to do for a plan leave no job."""

    resources: Resources = Resources()
    """What a job asks for where the preset says nothing."""


def data(plan: Plan, row: Row) -> list[Work]:
    """Draw the embedded data set."""
    return [Work(folder="data/scenes", argv=["--out", str(plan.scenes), *options(plan.told("data"))])]


def pretrain(plan: Plan, row: Row) -> list[Work]:
    """Train a backbone without labels."""
    if row.method == RANDOM:
        return []
    folder = f"{row.folder(plan)}/pretrain"
    told = {"seed": str(row.seed)} | plan.told("pretrain")
    embedded = plan.draws_its_data and "data.root" not in told
    if embedded:
        told = {"data.root": str(plan.scenes / "unlabelled")} | told
    argv = ["--method", row.method, "--recipe", plan.recipe, "--out", str(plan.runs / folder)]
    argv += [f"{key}={value}" for key, value in told.items()]
    return [Work(folder=folder, argv=argv, inputs=(plan.scenes / "scenes.json",) if embedded else ())]


def convert(plan: Plan, row: Row) -> list[Work]:
    """Rename a backbone's tensors for Detectron2."""
    if row.method == RANDOM:
        return []
    source = backbone(plan, row)
    folder = f"{row.folder(plan)}/convert"
    argv = [str(source), str(plan.runs / folder / "backbone.pkl"), *options(plan.told("convert"))]
    return [Work(folder=folder, argv=argv, inputs=(source,))]


def transfer(plan: Plan, row: Row) -> list[Work]:
    """Fine-tune Mask R-CNN, once per protocol and benchmark."""
    told = plan.told("transfer")
    # Detectron2 writes its settings in capitals (SOLVER.BASE_LR); the command's own options are small.
    ours = {key: value for key, value in told.items() if key[0].islower()}
    theirs = [word for key, value in told.items() if key not in ours for word in (key, value)]
    converted = plan.runs / row.folder(plan) / "convert" / "backbone.pkl"
    weights, inputs = (RANDOM, ()) if row.method == RANDOM else (str(converted), (converted,))
    works = []
    for protocol, benchmark in ((p, b) for p in plan.protocols for b in plan.benchmarks):
        embedded = benchmark == "scenes" and not {"data", "train-json"} & set(ours)
        folder = f"{row.folder(plan)}/{protocol}-{benchmark}"
        argv = ["--protocol", protocol, "--benchmark", benchmark, "--weights", weights]
        argv += ["--out", str(plan.runs / folder), "--seed", str(row.seed)]
        argv += ["--data", str(plan.scenes)] if embedded else []
        argv += [*options(ours), *theirs]
        works.append(Work(folder=folder, argv=argv, inputs=inputs + scenes_of(plan, embedded)))
    return works


def knn(plan: Plan, row: Row) -> list[Work]:
    """Classify labelled images by their nearest neighbours."""
    told = plan.told("knn")
    source = backbone(plan, row)
    weights, inputs = (RANDOM, ()) if row.method == RANDOM else (str(source), (source,))
    works = []
    for benchmark in plan.knn:
        embedded = benchmark == "scenes" and "data" not in told
        folder = f"{row.folder(plan)}/knn-{benchmark}"
        argv = ["--weights", weights, "--benchmark", benchmark]
        argv += ["--data", str(plan.scenes / "classification")] if embedded else []
        argv += ["--out", str(plan.runs / folder), "--seed", str(row.seed), *options(told)]
        works.append(Work(folder=folder, argv=argv, inputs=inputs + scenes_of(plan, embedded)))
    return works


def tables(plan: Plan, row: Row) -> list[Work]:
    """Put every result into tables."""
    return [Work(folder="results", argv=[str(plan.runs), *options(plan.told("tables"))])]


def backbone(plan: Plan, row: Row) -> Path:
    return plan.runs / row.folder(plan) / "pretrain" / "backbone.pth"


def scenes_of(plan: Plan, embedded: bool) -> tuple[Path, ...]:
    return (plan.scenes / "scenes.json",) if embedded else ()


def options(told: dict[str, str]) -> list[str]:
    """``{"images": "2000"}`` -> ``["--images", "2000"]``."""
    return [word for key, value in told.items() for word in (f"--{key}", value)]


STAGES = {
    "data": Stage(module="pretrain.scenes", work=data, outputs=("scenes.json",), per_row=False),
    "pretrain": Stage(
        module="pretrain.train",
        work=pretrain,
        outputs=("backbone.pth",),
        implies=("data",),
        resources=Resources(gpus=8, cpus=10, mem_gb=32, hours=24),
    ),
    "convert": Stage(module="transfer.convert", work=convert, outputs=("backbone.pkl", "conversion.json")),
    "transfer": Stage(
        module="transfer.train",
        work=transfer,
        outputs=("result.json",),
        implies=("data", "convert", "knn", "tables"),
        resources=Resources(gpus=8, cpus=6, mem_gb=24, hours=24),
    ),
    "knn": Stage(module="transfer.knn", work=knn, outputs=("result.json",), implies=("data", "tables")),
    "tables": Stage(module="analysis.tables", work=tables, per_row=False, last=True, resources=Resources(cpus=1)),
}
