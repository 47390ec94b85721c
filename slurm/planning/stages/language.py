"""Fine-tuning a language model, and its answers to benchmarks of word problems."""

from pathlib import Path

from slurm.planning.experiment import Experiment, as_texts
from slurm.planning.rows import LANGUAGE_MODEL, Row
from slurm.planning.stage import Invocation


def language(experiment: Experiment, row: Row) -> list[Invocation]:
    """Fine-tune the model of a row."""
    if row.method != LANGUAGE_MODEL:
        return []
    settings = {"seed": str(row.seed), **experiment.settings_for("language", row), **as_texts(row.settings)}
    if row.variant:
        settings["variant"] = row.variant
    folder = f"{row.folder(experiment.recipe)}/language"
    argv = ["--recipe", experiment.recipe, "--out", str(experiment.runs / folder)]
    return [Invocation(folder=folder, argv=argv, settings=settings)]


def language_eval(experiment: Experiment, row: Row) -> list[Invocation]:
    """Answer every benchmark's questions with it."""
    if row.method != LANGUAGE_MODEL:
        return []
    settings = experiment.settings_for("language_eval", row)
    run = experiment.runs / row.folder(experiment.recipe) / "language"
    invocations = []
    for benchmark in experiment.language:
        # The folder of the benchmarks' files, which are named after them: gsm8k.jsonl, math.jsonl.
        own = {key: text for key, text in settings.items() if key != "data"}
        data = ["--data", str(Path(settings["data"]) / f"{benchmark}.jsonl")] if "data" in settings else []
        folder = f"{row.folder(experiment.recipe)}/{benchmark}"
        argv = ["--model", str(run), "--benchmark", benchmark, *data, "--out", str(experiment.runs / folder)]
        inputs = (run / "model" / "run.json",)
        invocations.append(Invocation(folder=folder, argv=argv, settings=own, inputs=inputs))
    return invocations
