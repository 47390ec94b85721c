"""Whether the stages know what they are told: a misspelt setting is found before its job has waited in a queue."""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from pretrain import methods
from pretrain.config import defaults, read_recipe
from runtime.command_line import UserError, one_of
from runtime.provenance import ROOT
from runtime.settings import parse_pairs, updated
from slurm.planning import known
from slurm.planning.preset import Plan
from slurm.planning.stage import Stage
from slurm.planning.stages import nothing


def faults_of(plan: Plan, wanted: Collection[str], table: Mapping[str, Stage]) -> list[str]:
    """One sentence for each setting in ``plan`` that the command of its stage does not know or cannot take.

    The recipe is read if ``pretrain`` is among the ``wanted`` stages and it is a file of the user's own. Stages and
    methods that are not known themselves are named by slurm.planning.validate.
    """
    faults = []
    for name, told in plan.settings.items():
        stage, of, _ = name.partition("@")
        if stage in table and of and not table[stage].per_row:
            faults.append(f"{stage} is one job for all rows, and {name} would be read by nobody; say it to {stage}")
        elif stage in table:
            faults += CHECKS.get(stage, of_options)(plan, name, told, table[stage])
    for name, entry in plan.variants.items():
        faults += of_methods([entry["method"]], f"variant {name!r}", entry["settings"])
    if "pretrain" in wanted and plan.recipe.endswith((".yaml", ".yml")) and Path(plan.recipe).is_file():
        faults += [text for method in trained(plan) for text in of_recipe(plan.recipe, method)]
    return list(dict.fromkeys(faults))


def trained(plan: Plan) -> list[str]:
    """The known methods that are pretrained."""
    return [name for name in dict.fromkeys(row.method for row in plan.rows) if name in methods.available()]


def of_pretrain(plan: Plan, name: str, told: dict[str, str], stage: Stage) -> list[str]:
    """KEY=VALUE of pretrain/train.py: the settings of every method that is spoken to have to hold them."""
    method = name.partition("@")[2]
    return of_methods([method] if method else trained(plan), name, told)


def of_methods(names: Iterable[str], source: str, told: dict[str, str]) -> list[str]:
    known_names = [name for name in names if name in methods.available()]
    texts = {name: misfit(defaults_of(name), source, told) for name in known_names}
    if len(set(texts.values())) > 1:  # what one method knows and another does not
        texts = {name: misfit(defaults_of(name), f"{source} of {name}", told) for name in known_names}
    return [text for text in dict.fromkeys(texts.values()) if text]


def defaults_of(method: str):
    """What pretrain.config.TrainConfig is for a method, before any recipe."""
    return defaults(method)


def of_recipe(recipe: str, method: str) -> list[str]:
    """What a recipe of the user's own says for every method, and for this one."""
    try:
        layers = read_recipe(recipe, method)
    except UserError as error:
        return [str(error)]
    return [text for source, values in layers for text in caught(updated, defaults_of(method), values, source)]


def of_probe(plan: Plan, name: str, told: dict[str, str], stage: Stage) -> list[str]:
    """KEY=VALUE of transfer/linear.py and semi.py, and what the graph makes options of them."""
    ours = ("data", "cached-features") if name.startswith("linear") else ("data",)
    path = ROOT / "transfer" / "classification" / "classifier_protocol.py"
    pairs = {key: value for key, value in told.items() if key not in ours}
    text = misfit(known.settings_class(path, "Settings")(), name, pairs)
    faults = [f"{text}; and {', '.join(ours)}"] if text else []
    return faults + caught(one_of, f"{name}.cached-features", told.get("cached-features", "false"), ("true", "false"))


def of_transfer(plan: Plan, name: str, told: dict[str, str], stage: Stage) -> list[str]:
    """The options of transfer/train.py are small; Detectron2's settings are in capitals."""
    small = {key: value for key, value in told.items() if key[:1].islower()}
    faults = of_options(plan, name, small, stage)
    theirs = known.detection_settings()
    for key in (key for key in told if theirs and key not in small):
        near = [other for other in theirs if other.rpartition(".")[0] == key.rpartition(".")[0]]
        faults += caught(one_of, f"setting of {name}", key, theirs if key in theirs else near or groups(theirs))
    return faults


def groups(keys: Iterable[str]) -> set[str]:
    """``SOLVER.BASE_LR`` -> ``SOLVER``: what to list where not even the group is known."""
    return {key.partition(".")[0] for key in keys}


def of_options(plan: Plan, name: str, told: dict[str, str], stage: Stage) -> list[str]:
    """Every other stage takes its settings as options."""
    if stage.work is nothing:
        return [
            f"{name} stands for {', '.join(stage.implies)} and takes no settings; say {key} to one of these"
            for key in told
        ]
    kinds = known.options(stage.module)
    faults = [text for key in told if kinds for text in caught(one_of, f"setting of {name}", key, kinds)]
    for key, value in told.items():
        try:
            kinds.get(key, str)(value)
        except ValueError:
            faults.append(f"{name}.{key} is {value!r}; expected {kinds[key].__name__}")
    return faults


def misfit(settings, source: str, told: dict[str, str]) -> str:
    """What is wrong with KEY=VALUEs for a dataclass of settings, in the words of the command; empty if nothing is."""
    pairs = [f"{key}={value}" for key, value in told.items()]
    return "".join(caught(lambda: updated(settings, parse_pairs(pairs), source)))


def caught(function: Callable, *arguments) -> list[str]:
    """The message of the UserError that a call raises; none if it raises none."""
    try:
        function(*arguments)
    except UserError as error:
        return [str(error)]
    return []


CHECKS = {"pretrain": of_pretrain, "linear": of_probe, "semi": of_probe, "transfer": of_transfer}
"""The stages whose settings are not simply options."""
