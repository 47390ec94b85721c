"""Drawing the embedded data set, pretraining a backbone, and converting it for Detectron2."""

from pathlib import Path

from pretrain import config, methods
from runtime.command_line import UserError
from slurm.planning.experiment import Experiment, as_texts
from slurm.planning.rows import LANGUAGE_MODEL, RANDOM, Row
from slurm.planning.stage import Invocation

WITHOUT_BACKBONE = (RANDOM, LANGUAGE_MODEL)


def data(experiment: Experiment, row: Row) -> list[Invocation]:
    """Draw the embedded data set."""
    argv = ["--out", str(experiment.data.folder)]
    return [Invocation(folder="data/scenes", argv=argv, settings=experiment.settings_for("data"))]


def pretrain(experiment: Experiment, row: Row) -> list[Invocation]:
    """Train a backbone."""
    if row.method in WITHOUT_BACKBONE:
        return []
    folder = f"{row.folder(experiment.recipe)}/pretrain"
    given = experiment.settings_for("pretrain", row)
    given.update(as_texts(row.settings))
    embedded = experiment.embedded_for(of_recipe(experiment, row.method) | given)
    settings = {"seed": str(row.seed)}
    if embedded:
        labelled = methods.learns_from_labels(row.method)
        settings = {"data.root": str(embedded.pretraining(labelled=labelled)), **settings}
    settings.update(given)
    if row.variant:
        settings["variant"] = row.variant
    argv = ["--method", row.method, "--recipe", experiment.recipe, "--out", str(experiment.runs / folder)]
    inputs = (embedded.manifest,) if embedded else ()
    return [Invocation(folder=folder, argv=argv, settings=settings, inputs=inputs)]


def convert(experiment: Experiment, row: Row) -> list[Invocation]:
    """Rename a backbone's tensors for Detectron2."""
    if row.method in WITHOUT_BACKBONE:
        return []
    source, folder = backbone(experiment, row), f"{row.folder(experiment.recipe)}/convert"
    argv = [str(source), str(experiment.runs / folder / "backbone.pkl")]
    settings = experiment.settings_for("convert", row)
    return [Invocation(folder=folder, argv=argv, settings=settings, inputs=(source,))]


def backbone(experiment: Experiment, row: Row) -> Path:
    """The file that pretraining writes."""
    return experiment.runs / row.folder(experiment.recipe) / "pretrain" / "backbone.pth"


def untrained(experiment: Experiment, row: Row) -> str:
    """The network of the row from scratch, where the others are not of the usual one; else nothing."""
    if row.method != RANDOM:
        return ""
    given = of_recipe(experiment, row.method) | experiment.settings_for("pretrain")
    return given.get("backbone.name", "")


def of_recipe(experiment: Experiment, method: str) -> dict[str, str]:
    """What the recipe says of a method, as texts; nothing of one that cannot be read: the command says why."""
    try:
        layers = config.read_recipe(experiment.recipe, method)
    except UserError:
        return {}
    return {key: text for _, values in layers if isinstance(values, dict) for key, text in as_texts(values).items()}


def weights_of(experiment: Experiment, row: Row) -> tuple[str, tuple[Path, ...]]:
    """A row's backbone on a command line, and the file it stands for."""
    source = backbone(experiment, row)
    return (RANDOM, ()) if row.method == RANDOM else (str(source), (source,))
