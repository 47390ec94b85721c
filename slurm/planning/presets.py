"""The preset files: experiments with a name.

Rows that differ from a method's recipe in some settings of pretraining are `variants`; settings of a stage that hold
for one method alone stand under `STAGE@METHOD`:

    methods: [random, simclr]
    variants:
      "gamma=0.3": {method: matrix_ssl, settings: {method.gamma: 0.3}}
    settings:
      pretrain: {epochs: 100}
      pretrain@simclr: {optim.lr: 0.3}
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from runtime.command_line import UserError, one_of
from runtime.settings import load_dataclass
from slurm.planning import rows
from slurm.planning.experiment import Experiment, Preset

PRESETS = Path(__file__).resolve().parent.parent / "presets"


def available() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def path_of(name: str) -> Path:
    """The file of a preset, which is given by its name or as a path that ends in .yaml."""
    return Path(name) if name.endswith(".yaml") else PRESETS / f"{one_of('preset', name, available())}.yaml"


def load(name: str) -> Preset:
    """Read a preset. Raises UserError that names every key and value that does not fit, and every odd variant."""
    path = path_of(name)
    preset = load_dataclass(path, Preset)
    if faults := rows.faults_of(preset.variants, preset.methods):
        raise UserError.of(f"{path}: {fault}" for fault in faults)
    # Presets written before `embedded_data` said it by settings of the stage that draws the images.
    return replace(preset, embedded_data=preset.embedded_data or "data" in preset.settings)


def experiment(
    preset: Preset,
    *,
    runs: Path = Path("runs"),
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    recipe: str | None = None,
    protocols: Sequence[str] | None = None,
    benchmarks: Sequence[str] | None = None,
) -> Experiment:
    """The experiment of a preset; what is given replaces the preset's."""
    own = Experiment(**{f.name: getattr(preset, f.name) for f in fields(Preset)}, runs=runs)
    if methods is not None:
        own = _of_rows(own, methods)
    return replace(
        own,
        seeds=preset.seeds if seeds is None else tuple(seeds),
        recipe=preset.recipe if recipe is None else recipe,
        protocols=preset.protocols if protocols is None else tuple(protocols),
        benchmarks=preset.benchmarks if benchmarks is None else tuple(benchmarks),
    )


def _of_rows(whole: Experiment, names: Sequence[str]) -> Experiment:
    """The experiment with these rows, without the settings of those that it leaves out."""
    methods, variants = rows.chosen(names, whole.variants)
    part = replace(whole, methods=tuple(methods), variants=variants)
    left_out = {row.method for row in whole.rows} - {row.method for row in part.rows}
    return replace(
        part, settings={key: of for key, of in whole.settings.items() if key.partition("@")[2] not in left_out}
    )
