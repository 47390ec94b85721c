"""The stages: which command each one runs, from which files, to which files, and what it asks of a machine.

A new stage is one function and one entry in STAGES. Nothing else needs to know it: what a job waits for follows
from the files, because a job comes after the jobs that write what it reads.
"""

from runtime.job_graph import Resources
from slurm.planning.stage import Stage
from slurm.planning.stages import backbones, detection, gathering, language, probes, representations

RESULT = ("result.json",)
ON_GPUS = Resources(gpus=8, cpus=6, mem_gb=24, hours=24)
MEASURES = Resources(cpus=4, mem_gb=32, hours=4)
EVALUATIONS = ("knn", "linear", "finetune", "semi", "spectra", "tsne")

STAGES = {
    "data": Stage(module="pretrain.scenes", invocations=backbones.data, outputs=("scenes.json",), per_row=False),
    "pretrain": Stage(
        module="pretrain.train",
        invocations=backbones.pretrain,
        outputs=("backbone.pth",),
        implies=("data",),
        resources=Resources(gpus=8, cpus=10, mem_gb=32, hours=24),
    ),
    "convert": Stage(
        module="transfer.convert", invocations=backbones.convert, outputs=("backbone.pkl", "conversion.json")
    ),
    "transfer": Stage(
        module="transfer.train",
        invocations=detection.transfer,
        outputs=RESULT,
        implies=("data", "convert", *EVALUATIONS, "tables"),
        resources=ON_GPUS,
    ),
    "knn": Stage(module="transfer.knn", invocations=probes.knn, outputs=RESULT, implies=("data", "tables")),
    "linear": Stage(
        module="transfer.linear",
        invocations=probes.linear,
        outputs=RESULT,
        implies=("data", "tables"),
        resources=ON_GPUS,
    ),
    "finetune": Stage(
        module="transfer.finetune",
        invocations=probes.finetune,
        outputs=RESULT,
        implies=("data", "tables"),
        resources=ON_GPUS,
    ),
    "semi": Stage(
        module="transfer.semi",
        invocations=probes.semi,
        outputs=RESULT,
        implies=("data", "tables"),
        resources=ON_GPUS,
    ),
    "language": Stage(
        module="language.train",
        invocations=language.language,
        outputs=("model/run.json",),
        resources=Resources(gpus=8, cpus=6, mem_gb=48, hours=24),
    ),
    "language_eval": Stage(
        module="language.evaluate",
        invocations=language.language_eval,
        outputs=RESULT,
        implies=("language", "tables"),
        resources=Resources(gpus=1, cpus=6, mem_gb=48, hours=12),
    ),
    "features": Stage(
        module="analysis.features",
        invocations=representations.features,
        outputs=("features.safetensors",),
        implies=("data",),
        resources=Resources(gpus=1, cpus=8, mem_gb=32, hours=4),
    ),
    "effective_rank": Stage(
        module="analysis.effective_rank",
        invocations=representations.effective_rank,
        outputs=("effective_rank.json",),
        implies=("features", "tables"),
        resources=MEASURES,
    ),
    "spectra": Stage(
        module="analysis.spectra",
        invocations=representations.spectra,
        outputs=("spectra.json",),
        implies=("effective_rank",),
        resources=MEASURES,
    ),
    "tsne": Stage(
        module="analysis.tsne",
        invocations=representations.tsne,
        per_row=False,
        implies=("features",),
        resources=MEASURES,
    ),
    "curves": Stage(
        module="analysis.curves",
        invocations=representations.curves,
        outputs=("curves.json", "curves.png"),
        per_row=False,
        implies=("data", "report"),
        resources=Resources(gpus=1, cpus=8, mem_gb=32, hours=4),
    ),
    "analysis": Stage(implies=("spectra", "tsne")),
    "tables": Stage(
        module="analysis.tables",
        invocations=gathering.tables,
        per_row=False,
        gathers=True,
        implies=("report",),
        resources=Resources(cpus=1),
    ),
    "report": Stage(
        module="analysis.report", invocations=gathering.report, per_row=False, gathers=True, resources=Resources(cpus=1)
    ),
}
