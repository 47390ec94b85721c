"""Ranks of every kept checkpoint of a run, on the same images; what was measured before is not measured again."""

from dataclasses import dataclass
from pathlib import Path

import torch

from analysis.extraction import feature_file
from analysis.extraction.choice import choose
from analysis.extraction.extract import extract
from analysis.extraction.images import Prepared, open_images
from analysis.extraction.options import ImageOptions
from analysis.measures.effective_rank import measure
from runtime import distributed
from runtime.command_line import UserError
from runtime.files import sha256, write_json
from runtime.progress import Progress
from runtime.provenance import commit
from runtime.read import read_json
from transfer.backbones.frozen import load


def checkpoints_of(folder: Path) -> tuple[str, list[Path]]:
    """The name of a run and its kept checkpoints, by step. Raises UserError where there is none."""
    inner = folder / "pretrain" if (folder / "pretrain").is_dir() else folder
    paths = [*sorted((inner / "checkpoints").glob("step-*.pth")), inner / "checkpoint.pth"]  # the newest stays outside
    if len(paths) < 2:
        raise UserError(f"no kept checkpoints at {inner / 'checkpoints'}; pretrain with log.keep_every=STEPS")
    paths = paths if paths[-1].exists() else paths[:-1]
    return inner.resolve().parent.name if inner.name == "pretrain" else inner.resolve().name, paths


class Curves:
    """Measures of checkpoints, written after each one: {run: [{step, weights_sha256, values, warnings}, ...]}."""

    def __init__(self, path: Path, setting: dict):
        """Raises UserError if ``path`` holds curves over other images."""
        self.path, self.setting, self.runs = path, setting, {}
        if path.exists():
            there, self.runs = _read(path)
            if there != setting:
                odd = [key for key in setting if there.get(key) != setting[key]]
                raise UserError(f"{path} holds curves of other {', '.join(odd)}; choose another --out")

    def has(self, run: str, digest: str) -> bool:
        return any(point["weights_sha256"] == digest for point in self.runs.get(run, []))

    def steps(self, run: str) -> set[int]:
        return {point["step"] for point in self.runs.get(run, [])}

    def add(self, run: str, point: dict) -> None:
        points = [p for p in self.runs.get(run, []) if p["step"] != point["step"]]
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
    workers: int,
    device: str,
) -> Followed:
    """Measure the checkpoints below ``folders`` that OUT/curves.json does not have yet.

    ``steps``: only those; None for all. Raises UserError for a folder without kept checkpoints, for a step that none
    of them has, and if curves.json is of other images.
    """
    runs = [(name, path) for name, paths in map(checkpoints_of, folders) for path in paths]
    if steps:
        runs = [(name, path) for name, path in runs if path.stem in {f"step-{step:06d}" for step in steps}]
        if not runs:
            raise UserError(f"no run has a kept checkpoint of --steps {' '.join(map(str, steps))}")
    images = open_images(options.data, options.format, split=options.split)
    chosen, labels = indices_and_labels(images, per_class)
    names = [images.names[i] for i in chosen]
    prepared = Prepared(images, chosen, size=options.size, resize=options.resize)
    setting = {"images": len(chosen), "classes": len(images.classes), "layer": layer, "size": options.size}
    setting |= {"images_sha256": feature_file.images_sha256(names, [images.labels[i] for i in chosen])}
    on = distributed.init(device)
    curves = Curves(out / "curves.json", setting)
    progress = Progress(len(runs), "checkpoints", quiet=not distributed.is_main())
    for done, (run_name, path) in enumerate(runs, start=1):
        if not curves.has(run_name, sha256(path)):
            backbone = load(path, layer, unfinished=True)
            if path.stem == "checkpoint" and backbone.step in curves.steps(run_name):
                continue  # the last step was kept as well
            network = backbone.network.to(on, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            h, _ = extract(
                network, prepared, normalise=backbone.inputs, device=on, workers=workers, half=False, quiet=True
            )
            feature_file.refuse_bad_rows(h, names, where=str(path))
            measured = measure(h.double(), labels, resamples=0)
            about = {key: backbone.about[key] for key in ("method", "variant", "weights_sha256")}
            about["step"] = backbone.step
            curves.add(run_name, {**about, "values": measured["values"], "warnings": measured["warnings"]})
        progress.update(done, f"{run_name} {path.stem}")
    drawn = {name: curves.runs[name] for name in dict.fromkeys(name for name, _ in runs)}
    return Followed(drawn, len(chosen), len(images.classes))


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
