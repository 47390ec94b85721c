"""Ranks and entropies of every kept checkpoint of a run, on the same images, each measured once; and what it logged."""

import csv
from dataclasses import dataclass
from pathlib import Path

import torch

from analysis.extraction import feature_file
from analysis.extraction.choice import choose
from analysis.extraction.extract import extract, random_views
from analysis.extraction.images import Prepared, open_images
from analysis.extraction.options import ImageOptions
from analysis.measures.effective_rank import measure
from analysis.measures.view_measures import MOST_FOR_MATRICES
from pretrain import methods
from pretrain.monitoring.information import information
from runtime import distributed
from runtime.command_line import UserError
from runtime.files import replacing, sha256, write_json
from runtime.progress import Progress
from runtime.provenance import commit
from runtime.read import read_json, read_jsonl
from transfer.backbones.frozen import check_side, load
from transfer.classification.crops import CentreCrop

OF_A_RUN = ("method", "seed")
"""What the points of a run have in common."""


def pretraining_of(folder: Path) -> Path:
    """The folder of a run's pretraining: below it, or itself."""
    return folder / "pretrain" if (folder / "pretrain").is_dir() else folder


def checkpoints_of(folder: Path) -> tuple[str, list[Path]]:
    """The name of a run and its kept checkpoints, by step. Raises UserError where there is none."""
    inner = pretraining_of(folder)
    paths = [*sorted((inner / "checkpoints").glob("step-*.pth")), inner / "checkpoint.pth"]  # the newest stays outside
    if len(paths) < 2:
        raise UserError(f"no kept checkpoints at {inner / 'checkpoints'}; pretrain with log.keep_every=STEPS")
    paths = paths if paths[-1].exists() else paths[:-1]
    return inner.resolve().parent.name if inner.name == "pretrain" else inner.resolve().name, paths


def runs_of(folders: list[Path]) -> list[tuple[Path, str, list[Path]]]:
    """Each run's folder, name and kept checkpoints. Raises UserError where two have one name."""
    found = [(folder, *checkpoints_of(folder)) for folder in folders]
    by_name: dict[str, Path] = {}
    for folder, name, _ in found:
        if (first := by_name.setdefault(name, folder)).resolve() != folder.resolve():
            raise UserError(f"{first} and {folder} are both runs called {name}; rename one, or give each an --out")
    return found


class Curves:
    """Measures of checkpoints, written after each one: {run: [{step, weights_sha256, values, warnings}, ...]}."""

    def __init__(self, path: Path, setting: dict):
        """Raises UserError if ``path`` holds curves over other images."""
        self.path, self.setting, self.runs = path, setting, {}
        if path.exists():
            there, self.runs = _read(path)
            if there != setting:
                odd = [key for key in setting | there if there.get(key) != setting.get(key)]
                raise UserError(f"{path} holds curves of other {', '.join(odd)}; choose another --out")

    def has(self, run: str, digest: str) -> bool:
        return any(point["weights_sha256"] == digest for point in self.runs.get(run, []))

    def add(self, run: str, point: dict) -> None:
        """Keep a point. Raises UserError where the points under this name are another run's."""
        there = self.runs.get(run, [])
        if odd := [key for key in OF_A_RUN for other in there if other.get(key, point[key]) != point[key]]:
            raise UserError(
                f"{self.path} holds another run called {run} (another {odd[0]}); choose another --out, or rename one"
            )
        points = [p for p in there if p["step"] != point["step"]]
        self.runs[run] = sorted([*points, point], key=lambda p: p["step"])
        if distributed.is_main():
            write_json(self.path, {"setting": self.setting, "commit": commit(), "runs": self.runs})


def _read(path: Path) -> tuple[dict, dict[str, list[dict]]]:
    """``setting`` and ``runs`` of a curves.json. Raises UserError for a damaged one."""
    remedy = "delete it to measure every checkpoint again"
    content = read_json(path, remedy=remedy)
    try:
        runs = {str(name): [_point(entry) for entry in points] for name, points in content["runs"].items()}
        return dict(content["setting"]), runs
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is no curves.json, or a damaged one ({error!r}); {remedy}") from error


def _point(entry: dict) -> dict:
    numbers = {str(name): float(value) for name, value in entry["values"].items()}
    return {**entry, "step": int(entry["step"]), "values": numbers, "weights_sha256": str(entry["weights_sha256"])}


@dataclass(frozen=True)
class Followed:
    """What there is to draw."""

    runs: dict[str, list[dict]]
    """Name of a run -> its points, by step."""
    logged: dict[str, list[dict]]
    """The same of what the runs logged of their training batches; without those that left no log."""
    images: int
    classes: int
    """0 where the images have none."""


def follow(
    folders: list[Path],
    options: ImageOptions,
    out: Path,
    *,
    layer: str,
    per_class: int | None,
    steps: list[int] | None,
    views: bool = False,
    workers: int,
    device: str,
) -> Followed:
    """Measure the checkpoints below ``folders`` that OUT/curves.json does not have yet.

    ``steps``: only those; None for all. ``views``: two random views of each image as well, by each run's own recipe,
    for what compares two; none for masked auto-encoders, which see one.

    Raises UserError for a folder without kept checkpoints, for two runs of one name, for a step that none of them has,
    and if curves.json is of other images.
    """
    found = runs_of(folders)
    runs = [(name, path) for _, name, paths in found for path in paths]
    if steps:
        runs = [(name, path) for name, path in runs if path.stem in {f"step-{step:06d}" for step in steps}]
        if not runs:
            raise UserError(f"no run has a kept checkpoint of --steps {' '.join(map(str, steps))}")
    images = open_images(options.data, options.format, split=options.split)
    chosen, labels = indices_and_labels(images, per_class)
    names = [images.names[i] for i in chosen]
    setting = {"images": len(chosen), "classes": len(images.classes), "layer": layer, **options.crop}
    setting |= {"views": 2} if views else {}
    setting |= {"images_sha256": feature_file.images_sha256(names, [images.labels[i] for i in chosen])}
    on = distributed.init(device)
    curves = Curves(out / "curves.json", setting)
    progress = Progress(len(runs), "checkpoints", quiet=not distributed.is_main())
    for done, (run_name, path) in enumerate(runs, start=1):
        if not curves.has(run_name, sha256(path)):
            backbone = load(path, layer, unfinished=True)
            check_side(backbone, options.size)
            if path.stem == "checkpoint" and (path.parent / f"checkpoints/step-{backbone.step:06d}.pth").exists():
                continue  # the last step was kept as well
            network = backbone.network.to(on, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            two = views and not methods.masks_patches(backbone.about["method"])
            augment = random_views(backbone, size=options.size, count=2, seed=0) if two else None
            prepared = Prepared(images, chosen, CentreCrop(**options.crop), augment=augment)
            h, drawn = extract(
                network, prepared, normalise=backbone.inputs, device=on, workers=workers, half=False, quiet=True
            )
            feature_file.refuse_bad_rows(h, names, where=str(path))
            measured = measure(h.double(), labels, resamples=0)
            about = {key: backbone.about[key] for key in ("method", "variant", "weights_sha256")}
            about |= {"seed": backbone.seed, "step": backbone.step}
            values = measured["values"] | entropies(h.double(), drawn)
            curves.add(run_name, {**about, "values": values, "warnings": measured["warnings"]})
        progress.update(done, f"{run_name} {path.stem}")
    drawn = {name: curves.runs[name] for name in dict.fromkeys(name for name, _ in runs)}
    logged = {name: logged_of(folder, drawn[name]) for folder, name, _ in found if name in drawn}
    logged = {name: points for name, points in logged.items() if points}
    return Followed(drawn, logged, len(chosen), len(images.classes))


def entropies(h: torch.Tensor, views: torch.Tensor | None) -> dict[str, float]:
    """`information` of order 1 and 2, of features (n, d) in float64; of two views (n, 2, d), what compares them.

    The matrices are of images spread evenly over all: the first ones would be of few classes.
    """
    some = torch.linspace(0, len(h) - 1, min(len(h), MOST_FOR_MATRICES)).round().long()
    several = {"orders": (1, 2), "most": MOST_FOR_MATRICES}
    values = information(views[some].double().unbind(1), **several) if views is not None else {}
    values |= information([h[some]], **several)  # the entropies are of whole images: the same ones for every run
    return {name.replace("_", "-"): value for name, value in values.items()}


def logged_of(folder: Path, points: list[dict]) -> list[dict]:
    """The lines of a run's log.jsonl as points of its curves, whose method and variant they have; empty without a log.

    Raises UserError for a log that cannot be read.
    """
    path = pretraining_of(folder) / "log.jsonl"
    if not path.is_file():
        return []
    about = {key: points[-1][key] for key in ("method", "variant")}
    lines = [line for line in read_jsonl(path) if isinstance(line.get("step"), int)]
    return [
        {**about, "step": line["step"], "values": {k.replace("_", "-"): v for k, v in line.items()}} for line in lines
    ]


def write_csv(runs: dict[str, list[dict]], path: Path) -> None:
    """A line per run and step with all values; a cell is empty where a run has no such value."""
    columns = sorted({name for points in runs.values() for point in points for name in point["values"]})
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["run", "method", "step", *columns])
        for name, points in runs.items():
            for point in points:
                cells = [point["values"].get(column, "") for column in columns]
                about = [name, point["method"], point["step"]]
                table.writerow([*about, *(f"{cell:.6g}" if cell != "" else "" for cell in cells)])


def indices_and_labels(images, per_class: int | None) -> tuple[list[int], torch.Tensor | None]:
    """The images that are followed: as many of every class; all of them, and no labels, where there are no classes."""
    if not images.classes:
        return list(range(len(images.labels))), None
    counts = torch.bincount(torch.tensor(images.labels))
    n = per_class or int(counts.min())
    if len(counts) < 2 or not 2 <= n <= counts.min():
        raise UserError(
            f"ranks within classes need 2 classes and 2 images of each; found {len(counts)} classes, the smallest of "
            f"{int(counts.min())} images" + (f", and --per-class {per_class}" if per_class else "")
        )
    indices = choose(images.labels, n, seed=0)
    return indices, torch.tensor([images.labels[i] for i in indices])
