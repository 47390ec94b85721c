"""Panels of t-SNE, one per method, that can be compared (Figures 2 and 4 of arXiv 2305.17326).

    python analysis/tsne.py A.safetensors B.safetensors --out DIR [--classes 5,10] [--method umap]

Every panel shows the same images of the first classes, embedded with the same seed from the same start (their first
principal components) and turned to match the first panel; each prints its trustworthiness: the share of a point's
neighbours in the picture that are neighbours among the features, corrected for chance (Venna and Kaski 2001; 1 is
perfect). Up to 5,000 points it is scikit-learn's t-SNE at its defaults, the papers'; beyond, the first 50 principal
components and openTSNE, which takes minutes where the former takes hours.
Writes DIR/tsne-5.svg, .png and .json (the coordinates), the same for 10, or for all where there are fewer classes, and
at last DIR/tsne.json, which names the pictures.
"""

from pathlib import Path

import matplotlib
import numpy as np

from analysis.extraction import feature_file
from analysis.extraction.feature_file import Features
from analysis.extraction.images import choose
from analysis.measures.figures import COLOURS, INK, MARKERS, MUTED, save
from runtime.command_line import Parser, UserError, one_of, run
from runtime.files import write_json
from runtime.progress import Progress

matplotlib.use("Agg")
METHODS = ("tsne", "umap")
MOST_EXACT = 5000
NEIGHBOURS = 5  # scikit-learn's default for trustworthiness


def embed(h: np.ndarray, method: str, *, seed: int) -> tuple[np.ndarray, str]:
    """Features (n, d) -> points (n, 2), and how they were made.

    Raises UserError for fewer points than t-SNE's perplexity of 30 can take, for points that are all equal, and where
    UMAP is not installed.
    """
    if len(h) <= 30:
        raise UserError(f"t-SNE at perplexity 30 needs more than 30 points, found {len(h)}; take more images")
    if (h == h[0]).all():
        raise UserError(f"all {len(h)} images have the same features (collapse); there is nothing to draw")
    if method == "umap":
        try:
            import umap
        except ImportError as error:
            raise UserError("UMAP is not installed; pip install umap-learn, or leave out --method umap") from error
        return umap.UMAP(random_state=seed, n_jobs=1).fit_transform(h), "UMAP, defaults"
    if len(h) <= MOST_EXACT:
        from sklearn.manifold import TSNE

        return TSNE(random_state=seed).fit_transform(h), "t-SNE, scikit-learn's defaults"
    import openTSNE
    from sklearn.decomposition import PCA

    reduced = PCA(50, svd_solver="full" if h.shape[1] <= 2048 else "randomized", random_state=seed).fit_transform(h)
    return np.asarray(openTSNE.TSNE(random_state=seed, n_jobs=-1).fit(reduced)), "PCA to 50, then openTSNE's defaults"


def turned(points: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Points (n, 2), centred, turned and mirrored to lie as close as possible to other points of the same images.

    A picture of t-SNE has no up and no left: without this, equal ones may look different.
    """
    points, towards = points - points.mean(0), towards - towards.mean(0)
    U, _, Vt = np.linalg.svd(points.T @ towards)
    return points @ U @ Vt


def trustworthiness(h: np.ndarray, points: np.ndarray, *, most: int = MOST_EXACT) -> float:
    """Trustworthiness of a picture at 5 neighbours, on at most ``most`` points: it takes their n x n distances.

    They are spread evenly over all points, which are sorted by class: the first ones would be of few classes.
    """
    from sklearn.manifold import trustworthiness

    some = np.linspace(0, len(h) - 1, min(most, len(h))).round().astype(int)
    return float(trustworthiness(h[some], points[some], n_neighbors=NEIGHBOURS))


def same_images(files: list[Features]) -> None:
    """UserError unless all files hold the same labelled images of the same layer."""
    for other in files[1:]:
        feature_file.need_same(files[0], other, "images_sha256", "layer")
    files[0].need_classes()


def of_first_classes(features: Features, count: int, per_class: int | None) -> list[int]:
    """The places of the images of the first ``count`` classes, at most ``per_class`` of each."""
    labels = features.y.tolist()
    first = sorted(set(labels))[:count]
    inside = [place for place, label in enumerate(labels) if label in first]
    if per_class:
        inside = [inside[i] for i in choose([labels[place] for place in inside], per_class, seed=0)]
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
            style = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)], "label": classes[k]}
            axes.scatter(*points[labels == k].T, s=9, alpha=0.75, linewidths=0, **style)
        axes.set_title(panel["title"], fontsize=9, color=INK)
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


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description="Panels of t-SNE, one per feature file, over the same images of the first classes.")
    parser.add_argument("features", type=Path, nargs="+", metavar="FEATURES", help="features.safetensors, one a panel")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    parser.add_argument("--classes", default="5,10", help="first classes shown, a picture each (default %(default)s)")
    parser.add_argument("--per-class", type=int, metavar="N", help="images of each class (default: all)")
    parser.add_argument("--method", default="tsne", help="tsne or umap (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of every panel (default 0)")
    arguments = parser.parse_args(argv)
    one_of("method", arguments.method, METHODS)
    wanted = [int(count) if count.isdecimal() else 0 for count in arguments.classes.split(",")]
    if min(wanted) < 2 or (arguments.per_class or 1) < 1:
        raise UserError("--classes takes numbers of at least 2, such as 5,10, and --per-class at least 1")
    files = [feature_file.read(path) for path in arguments.features]
    same_images(files)
    classes, titles = files[0].about["classes"], titles_of(files)
    counts = sorted({min(count, len(classes)) for count in wanted})
    progress, stems = Progress(len(counts) * len(files), "panels"), []
    for count in counts:
        places = of_first_classes(files[0], count, arguments.per_class)
        panels = []
        for file, title in zip(files, titles, strict=True):
            h = file.h[places].numpy().astype(np.float32)
            try:
                points, how = embed(h, arguments.method, seed=arguments.seed)
            except UserError as error:
                raise UserError(f"{file.about['path']}: {error}") from error
            points = turned(points, np.array(panels[0]["points"]) if panels else points)
            panels.append({"title": title, "trustworthiness": trustworthiness(h, points)})
            panels[-1] |= {"points": points.round(3).tolist(), "weights_sha256": file.about["weights_sha256"]}
            progress.update(counts.index(count) * len(files) + len(panels))
        stem = arguments.out / f"{arguments.method}-{count}"
        labels = files[0].y[places].numpy()
        names = {"classes": classes, "labels": labels.tolist(), "names": [files[0].names[i] for i in places]}
        write_json(stem.with_suffix(".json"), {"how": how, "seed": arguments.seed, **names, "panels": panels})
        paths = draw(panels, labels, classes, stem, how=how)
        stems.append(stem.name)
        print(f"{count} classes, {len(places)} images: " + ", ".join(map(str, paths)))
    # Last of all: how many classes there are the stage that waits for this file cannot know.
    write_json(arguments.out / f"{arguments.method}.json", {"pictures": stems, "seed": arguments.seed})


if __name__ == "__main__":
    run(main)
