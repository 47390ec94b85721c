"""The stages: which command each one runs, from which files, to which files, and what it asks of a machine.

A new stage is one function and one entry in STAGES. Nothing else needs to know it: what a job waits for follows
from the files, because a job comes after the jobs that write what it reads.
"""

import yaml

from pretrain import methods
from runtime.command_line import UserError
from runtime.provenance import ROOT
from slurm.planning import evaluation_stages
from slurm.planning.evaluation_stages import backbone, scenes_of
from slurm.planning.preset import Plan
from slurm.planning.rows import RANDOM, Row
from slurm.planning.stage import Resources, Stage, Work, options


def data(plan: Plan, row: Row) -> list[Work]:
    """Draw the embedded data set."""
    return [Work(folder="data/scenes", argv=["--out", str(plan.scenes), *options(plan.told("data"))])]


def pretrain(plan: Plan, row: Row) -> list[Work]:
    """Train a backbone."""
    if row.method == RANDOM:
        return []
    folder = f"{row.folder(plan.recipe)}/pretrain"
    told = {"seed": str(row.seed)} | plan.told("pretrain", row) | dict(row.settings)
    embedded = plan.draws_its_data and "data.root" not in told
    if embedded:
        images = "classification/train" if methods.learns_from_labels(row.method) else "unlabelled"
        told = {"data.root": str(plan.scenes / images)} | told
    if row.variant:
        told["variant"] = row.variant
    argv = ["--method", row.method, "--recipe", plan.recipe, "--out", str(plan.runs / folder)]
    argv += [f"{key}={value}" for key, value in told.items()]
    return [Work(folder=folder, argv=argv, inputs=(plan.scenes / "scenes.json",) if embedded else ())]


def convert(plan: Plan, row: Row) -> list[Work]:
    """Rename a backbone's tensors for Detectron2."""
    if row.method == RANDOM:
        return []
    source = backbone(plan, row)
    folder = f"{row.folder(plan.recipe)}/convert"
    argv = [str(source), str(plan.runs / folder / "backbone.pkl"), *options(plan.told("convert", row))]
    return [Work(folder=folder, argv=argv, inputs=(source,))]


def transfer(plan: Plan, row: Row) -> list[Work]:
    """Fine-tune Mask R-CNN, once per protocol and benchmark, or as many times as the protocol's literature does."""
    told = plan.told("transfer", row)
    # Detectron2 writes its settings in capitals (SOLVER.BASE_LR); the command's own options are small.
    ours = {key: value for key, value in told.items() if key[0].islower()}
    theirs = [word for key, value in told.items() if key not in ours for word in (key, value)]
    converted = plan.runs / row.folder(plan.recipe) / "convert" / "backbone.pkl"
    weights, inputs = (RANDOM, ()) if row.method == RANDOM else (str(converted), (converted,))
    works = []
    for protocol, benchmark in ((p, b) for p in plan.protocols for b in plan.benchmarks):
        embedded = benchmark == "scenes" and not {"data", "train-json"} & set(ours)
        number = trials(protocol, told.get("TRANSFER.TRIALS"))
        for seed in range(row.seed * number, (row.seed + 1) * number):
            folder = f"{row.folder(plan.recipe)}/{protocol}-{benchmark}" + (f"/seed{seed}" if number > 1 else "")
            argv = ["--protocol", protocol, "--benchmark", benchmark, "--weights", weights]
            argv += ["--out", str(plan.runs / folder), "--seed", str(seed)]
            argv += ["--data", str(plan.scenes)] if embedded else []
            argv += [*options(ours), *theirs]
            works.append(Work(folder=folder, argv=argv, inputs=inputs + scenes_of(plan, embedded)))
    return works


def trials(protocol: str, told: str | None) -> int:
    """How many runs to average: as told, else TRANSFER.TRIALS of the protocol's yaml, else 1."""
    if told is not None:
        if not (told.isdecimal() and int(told)):
            raise UserError(f"transfer.TRANSFER.TRIALS={told}: expected a whole number from 1")
        return int(told)
    path = ROOT / "transfer" / "protocols" / f"{protocol}.yaml"
    if not path.is_file():
        return 1
    return yaml.safe_load(path.read_text(encoding="utf-8")).get("TRANSFER", {}).get("TRIALS", 1)


def tables(plan: Plan, row: Row) -> list[Work]:
    """Put every result into tables."""
    return [Work(folder="results", argv=[str(plan.runs), *options(plan.told("tables"))])]


def report(plan: Plan, row: Row) -> list[Work]:
    """Put the whole folder on one page."""
    page = ["--out", str(plan.runs / "report.html")]
    return [Work(folder=".", name="report", argv=[str(plan.runs), *page, *options(plan.told("report"))])]


def nothing(plan: Plan, row: Row) -> list[Work]:
    """A name for several stages."""
    return []


RESULT = ("result.json",)
ON_GPUS = Resources(gpus=8, cpus=6, mem_gb=24, hours=24)
MEASURES = Resources(cpus=4, mem_gb=32, hours=4)
FROZEN = ("knn", "linear", "semi", "spectra", "tsne")

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
        outputs=RESULT,
        implies=("data", "convert", *FROZEN, "tables"),
        resources=ON_GPUS,
    ),
    "knn": Stage(module="transfer.knn", work=evaluation_stages.knn, outputs=RESULT, implies=("data", "tables")),
    "linear": Stage(
        module="transfer.linear",
        work=evaluation_stages.linear,
        outputs=RESULT,
        implies=("data", "tables"),
        resources=ON_GPUS,
    ),
    "semi": Stage(
        module="transfer.semi",
        work=evaluation_stages.semi,
        outputs=RESULT,
        implies=("data", "tables"),
        resources=ON_GPUS,
    ),
    "features": Stage(
        module="analysis.features",
        work=evaluation_stages.features,
        outputs=("features.safetensors",),
        implies=("data",),
        resources=Resources(gpus=1, cpus=8, mem_gb=32, hours=4),
    ),
    "effective_rank": Stage(
        module="analysis.effective_rank",
        work=evaluation_stages.effective_rank,
        outputs=("effective_rank.json",),
        implies=("features", "tables"),
        resources=MEASURES,
    ),
    "spectra": Stage(
        module="analysis.spectra",
        work=evaluation_stages.spectra,
        outputs=("spectra.json",),
        implies=("effective_rank",),
        resources=MEASURES,
    ),
    "tsne": Stage(
        module="analysis.tsne",
        work=evaluation_stages.tsne,
        per_row=False,
        implies=("features",),
        resources=MEASURES,
    ),
    "curves": Stage(
        module="analysis.curves",
        work=evaluation_stages.curves,
        outputs=("curves.json", "curves.png"),
        per_row=False,
        implies=("data", "tables"),
        resources=Resources(gpus=1, cpus=8, mem_gb=32, hours=4),
    ),
    "analysis": Stage(module="analysis.spectra", work=nothing, implies=("spectra", "tsne")),
    "tables": Stage(
        module="analysis.tables",
        work=tables,
        per_row=False,
        last=True,
        implies=("report",),
        resources=Resources(cpus=1),
    ),
    "report": Stage(module="analysis.report", work=report, per_row=False, last=True, resources=Resources(cpus=1)),
}
