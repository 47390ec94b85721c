"""Panels of embedded features, one per method, over the same images."""

from pathlib import Path

import matplotlib
import numpy as np

from analysis.extraction import feature_file
from analysis.extraction.choice import choose
from analysis.extraction.feature_file import Features
from analysis.figures.style import INK, MUTED, mark, plain, save
from analysis.measures.embedding import embed, trustworthiness, turned
from runtime.command_line import UserError
from runtime.files import write_json
from runtime.progress import Progress

matplotlib.use("Agg")


def draw_panels(
    files: list[Features], out: Path, *, counts: list[int], per_class: int | None, method: str, seed: int
) -> None:
    """For each number of classes in ``counts`` a picture OUT/METHOD-COUNT of all files, its coordinates beside it.

    Raises UserError unless all files hold the same labelled images of the same layer, and where nothing can be drawn.
    """
    same_images(files)
    classes, titles = files[0].about["classes"], titles_of(files)
    counts = sorted({min(count, len(classes)) for count in counts})
    progress, stems = Progress(len(counts) * len(files), "panels"), []
    for count in counts:
        indices = of_first_classes(files[0], count, per_class)
        panels: list[dict] = []
        for file, title in zip(files, titles, strict=True):
            h = file.h[indices].numpy().astype(np.float32)
            try:
                points, how = embed(h, method, seed=seed)
            except UserError as error:
                raise UserError(f"{file.about['path']}: {error}") from error
            points = turned(points, np.array(panels[0]["points"]) if panels else points)
            panels.append(
                {
                    "title": title,
                    "trustworthiness": trustworthiness(h, points),
                    "points": points.round(3).tolist(),
                    "weights_sha256": file.about["weights_sha256"],
                }
            )
            progress.update(counts.index(count) * len(files) + len(panels))
        stem = out / f"{method}-{count}"
        labels = files[0].y[indices].numpy()
        names = {"classes": classes, "labels": labels.tolist(), "names": [files[0].names[i] for i in indices]}
        write_json(stem.with_suffix(".json"), {"how": how, "seed": seed, **names, "panels": panels})
        paths = draw(panels, labels, classes, stem, how=how)
        stems.append(stem.name)
        print(f"{count} classes, {len(indices)} images: " + ", ".join(map(str, paths)))
    # Last of all: how many classes there are the stage that waits for this file cannot know.
    write_json(out / f"{method}.json", {"pictures": stems, "seed": seed})


def same_images(files: list[Features]) -> None:
    """UserError unless all files hold the same labelled images of the same layer."""
    for other in files[1:]:
        feature_file.need_same(files[0], other, "images_sha256", "layer")
    files[0].need_classes()


def of_first_classes(features: Features, count: int, per_class: int | None) -> list[int]:
    """The indices of the images of the first ``count`` classes, at most ``per_class`` of each."""
    labels = features.y.tolist()
    first = sorted(set(labels))[:count]
    inside = [index for index, label in enumerate(labels) if label in first]
    if per_class:
        inside = [inside[i] for i in choose([labels[index] for index in inside], per_class, seed=0)]
    return inside


def draw(panels: list[dict], labels: np.ndarray, classes: list[str], out: Path, *, how: str) -> list[Path]:
    """One panel per method, all classes in the same colours and markers."""
    from matplotlib import pyplot

    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    size = (max(2.6 * columns, 5.2), 2.75 * lines + 0.6)  # one panel is narrower than the words around it
    figure, grid = pyplot.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for axes, panel in zip(grid.flat, panels, strict=False):
        points = np.array(panel["points"])
        for k in np.unique(labels):
            axes.scatter(*points[labels == k].T, s=9, alpha=0.75, linewidths=0, label=plain(classes[k]), **mark(k))
        axes.set_title(plain(panel["title"]), fontsize=9, color=INK)
        axes.set_xlabel(f"trustworthiness {panel['trustworthiness']:.3f}", fontsize=8, color=MUTED)
        axes.set(xticks=[], yticks=[])
        axes.set_box_aspect(1)
        axes.set_aspect("equal", adjustable="datalim")  # distances are all that a picture of t-SNE says
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(len(names), 5), fontsize=8, markerscale=2, frameon=False
    )
    figure.suptitle(f"{how}; {len(labels)} images, the same in every panel", fontsize=8, color=MUTED)
    return save(figure, out)


def titles_of(files: list[Features]) -> list[str]:
    """What tells the panels apart: the method, then what else differs; at last the folder of the run."""
    titles = [file.title for file in files]
    for key in ("recipe", "epochs", "seed", "step"):
        if len(set(titles)) < len(titles) and len({file.about[key] for file in files}) > 1:
            titles = [f"{title}, {key} {file.about[key]}" for title, file in zip(titles, files, strict=True)]
    if len(set(titles)) < len(titles):
        titles = [Path(file.about["path"]).resolve().parent.parent.name for file in files]
    return titles
