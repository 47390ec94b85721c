"""Panels of embedded features, one per method, over the same images."""

from pathlib import Path

import numpy as np

from analysis.extraction import feature_file
from analysis.extraction.choice import choose
from analysis.extraction.feature_file import Features
from analysis.figures.palette import Look
from analysis.figures.save import save
from analysis.figures.specs import Series, point_cloud
from analysis.measures.embedding import embed, trustworthiness, turned
from runtime.command_line import UserError
from runtime.files import write_json
from runtime.progress import Progress


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
    """One panel per method, all classes in the same colours and shapes."""
    charts = []
    for panel in panels:
        points = np.array(panel["points"])
        series = []
        for k in np.unique(labels):
            x, y = points[labels == k].T.tolist()
            series.append(Series(name=classes[k], x=x, y=y, look=Look(int(k))))
        title = f"{panel['title']}\ntrustworthiness {panel['trustworthiness']:.3f}"
        charts.append((title, point_cloud(series, title=title)))
    caption = f"{how}; {len(labels)} images, the same in every panel"
    return save(charts, out, columns=min(4, len(panels)), caption=caption)


def titles_of(files: list[Features]) -> list[str]:
    """What tells the panels apart: the method, then what else differs; at last the folder of the run."""
    titles = [file.title for file in files]
    for key in ("recipe", "epochs", "seed", "step"):
        if len(set(titles)) < len(titles) and len({file.about[key] for file in files}) > 1:
            titles = [f"{title}, {key} {file.about[key]}" for title, file in zip(titles, files, strict=True)]
    if len(set(titles)) < len(titles):
        titles = [Path(file.about["path"]).resolve().parent.parent.name for file in files]
    return titles
