"""Ranks over training, of every kept checkpoint of every run, on the same images (Figure 3 of arXiv 2305.17326).

    python analysis/curves.py RUN... --images DIR --out OUT

RUN is a folder that holds pretrain/checkpoints/*.pth (log.keep_every), or that pretrain folder. Writes OUT/curves.json
after each checkpoint, so that the same command goes on where it was interrupted, then OUT/curves.svg and .png. The
backbone sees each image whole; no random views, no projector unless --layer projector.
"""

import json
import re
from pathlib import Path

import matplotlib
import torch

from analysis.effective_rank import measure
from analysis.extraction import feature_file
from analysis.extraction.images import FORMATS, Prepared, choose, open_images
from analysis.features import extract
from analysis.measures.figures import COLOURS, GRID, INK, MARKERS, save
from runtime import distributed
from runtime.command_line import Parser, UserError, one_of, run
from runtime.files import sha256, write_json
from runtime.progress import Progress
from runtime.provenance import commit
from transfer.backbones import LAYERS
from transfer.backbones.frozen import load

matplotlib.use("Agg")
SHOWN = {
    "rank-intra-cov": "intra-class effective rank (eq. 20)",
    "rank-inter-cov": "inter-class effective rank (eq. 21)",
    "rank-total-cov": "effective rank of all features",
    "mce-512": "matrix cross-entropy to uniform, batches of 512",
}


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
            there = json.loads(path.read_text(encoding="utf-8"))
            if there["setting"] != setting:
                odd = [key for key in setting if there["setting"].get(key) != setting[key]]
                raise UserError(f"{path} holds curves of other {', '.join(odd)}; choose another --out")
            self.runs = there["runs"]

    def has(self, run: str, digest: str) -> bool:
        return any(point["weights_sha256"] == digest for point in self.runs.get(run, []))

    def steps(self, run: str) -> set[int]:
        return {point["step"] for point in self.runs.get(run, [])}

    def add(self, run: str, point: dict) -> None:
        points = [p for p in self.runs.get(run, []) if p["step"] != point["step"]]
        self.runs[run] = sorted([*points, point], key=lambda p: p["step"])
        if distributed.is_main():
            write_json(self.path, {"setting": self.setting, "commit": commit(), "runs": self.runs})


def titles_of(runs: dict[str, list[dict]]) -> dict[str, str]:
    """Each run's method and variant, as tables name them; the folders' names where that does not tell runs apart."""
    titles = {}
    for name, points in runs.items():
        variant = re.sub(r"(, )?step=\d+$", "", points[-1]["variant"])
        titles[name] = feature_file.title_of(points[-1]["method"], variant)
    return titles if len(set(titles.values())) == len(runs) else {name: name for name in runs}


def draw(runs: dict[str, list[dict]], out: Path, *, note: str) -> list[Path]:
    """A panel per measure, a line per run."""
    from matplotlib import pyplot

    titles = titles_of(runs)
    shown = {name: text for name, text in SHOWN.items() if all(name in p["values"] for ps in runs.values() for p in ps)}
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    size = (3.9 * columns, 2.6 * lines + 0.6)
    figure, grid = pyplot.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for axes, (name, text) in zip(grid.flat, shown.items(), strict=True):
        for i, (run_name, points) in enumerate(runs.items()):
            style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
            style["label"] = titles[run_name]
            axes.plot([p["step"] for p in points], [p["values"][name] for p in points], markersize=4, lw=1.4, **style)
        axes.set_title(text, fontsize=8, color=INK)
        axes.set_xlabel("step", fontsize=8)
        axes.set_ylim(bottom=0 if name != "mce-512" else None)
        axes.tick_params(labelsize=7)
        axes.grid(color=GRID, linewidth=0.5)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=3 if max(map(len, names)) < 28 else 1,
        fontsize=8,
        frameon=False,
    )
    figure.suptitle(note, fontsize=8, color=INK)
    return save(figure, out)


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description="Effective ranks over training, of every kept checkpoint of every run.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="holds pretrain/checkpoints/step-*.pth")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="class folders, any tree, or CIFAR")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for curves.json and the picture")
    parser.add_argument("--layer", default="backbone", help=f"{' or '.join(LAYERS)} (default %(default)s)")
    parser.add_argument("--format", default="folder", help=f"of DIR: {', '.join(FORMATS)} (default %(default)s)")
    parser.add_argument("--split", default="test", help="of CIFAR: train or test (default %(default)s)")
    parser.add_argument("--per-class", type=int, metavar="N", help="images of each class (default: the smallest class)")
    parser.add_argument("--size", type=int, help="side of the crop, pixels (default 224; CIFAR 32)")
    parser.add_argument("--resize", type=int, help="short side before the crop (default size * 8 / 7; CIFAR 32)")
    parser.add_argument("--steps", type=int, nargs="+", metavar="STEP", help="only the checkpoints of these steps")
    parser.add_argument("--workers", type=int, default=2, help="loader processes per rank (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    arguments = parser.parse_args(argv)
    one_of("layer", arguments.layer, LAYERS)
    try:
        follow(arguments)
    finally:
        distributed.shutdown()


def follow(arguments) -> None:
    """Measure what is not in curves.json yet, then draw."""
    runs = [(name, path) for name, paths in map(checkpoints_of, arguments.runs) for path in paths]
    if arguments.steps:
        runs = [(name, path) for name, path in runs if path.stem in {f"step-{step:06d}" for step in arguments.steps}]
    images = open_images(arguments.images, arguments.format, split=arguments.split)
    places, labels = places_and_labels(images, arguments.per_class)
    names = [images.names[i] for i in places]
    cifar = arguments.format != "folder"
    arguments.size = arguments.size or (32 if cifar else 224)
    resize = arguments.resize or (arguments.size if cifar else round(arguments.size * 8 / 7))
    prepared = Prepared(images, places, size=arguments.size, resize=resize)
    setting = {"images": len(places), "classes": len(images.classes), "layer": arguments.layer, "size": arguments.size}
    setting |= {"images_sha256": feature_file.images_sha256(names, [images.labels[i] for i in places])}
    device = distributed.init(arguments.device)
    curves = Curves(arguments.out / "curves.json", setting)
    progress = Progress(len(runs), "checkpoints", quiet=not distributed.is_main())
    for done, (run_name, path) in enumerate(runs, start=1):
        if not curves.has(run_name, sha256(path)):
            network = load(path, arguments.layer, unfinished=True)
            if path.stem == "checkpoint" and network.step in curves.steps(run_name):
                continue  # the last step was kept as well
            module = network.network.to(device, memory_format=torch.channels_last)
            how = {"normalise": network.inputs, "device": device, "workers": arguments.workers, "half": False}
            h, _ = extract(module, prepared, **how, quiet=True)
            feature_file.refuse_bad_rows(h, names, where=str(path))
            found = measure(h.double(), labels, resamples=0)
            about = {key: network.about[key] for key in ("method", "variant", "weights_sha256")} | {
                "step": network.step
            }
            curves.add(run_name, {**about, "values": found["values"], "warnings": found["warnings"]})
        progress.update(done, f"{run_name} {path.stem}")
    if distributed.is_main():
        shown = {name: curves.runs[name] for name in dict.fromkeys(name for name, _ in runs)}
        each = (
            f", {len(places) // len(images.classes)} of each of {len(images.classes)} classes" if images.classes else ""
        )
        note = f"{len(places)} images{each}; {arguments.layer} features; covariance eigenvalues"
        paths = draw(shown, arguments.out / "curves", note=note)
        print(table(shown) + "\n" + "written: " + ", ".join(map(str, paths)))


def places_and_labels(images, per_class: int | None) -> tuple[list[int], torch.Tensor | None]:
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
    places = choose(images.labels, n, seed=0)
    return places, torch.tensor([images.labels[i] for i in places])


def table(runs: dict[str, list[dict]]) -> str:
    """First and last point of every run, as text."""
    lines = [f"{'run':40s} {'step':>12s} {'intra':>15s} {'inter':>15s} {'total':>15s}"]
    for name, points in runs.items():
        ends = points[0], points[-1]
        cells = [f"{ends[0]['step']} -> {ends[1]['step']}"]
        for metric in list(SHOWN)[:3]:
            cells.append(" -> ".join(f"{p['values'][metric]:.2f}" if metric in p["values"] else "-" for p in ends))
        lines.append(f"{name:40s} {cells[0]:>12s} " + " ".join(f"{cell:>15s}" for cell in cells[1:]))
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
