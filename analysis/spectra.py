"""The spectrum of a representation and what the field reads off it, each measure as its source defines it.

    python analysis/spectra.py features.safetensors --out DIR [--views views.safetensors]

Writes DIR/spectra.json (the eigenvalues among it), a picture of them, and the records. Measures of two views or more
(alignment, LiDAR, matrix mutual information, joint entropy) need features extracted with --views N; classes are needed
for the measures of neural collapse. The measures themselves stand in ``geometry`` and ``view_measures``.
"""

from pathlib import Path

import matplotlib
import torch

from analysis.effective_rank import equalised
from analysis.extraction import feature_file
from analysis.measures import geometry, result, view_measures
from analysis.measures.figures import GRID, INK, save
from pretrain.losses.class_ranks import spectrum
from runtime.command_line import Parser, UserError, run

matplotlib.use("Agg")
SHOWN = {
    "rankme": "effective rank over singular values, uncentred (RankMe)",
    "alpha": "slope of the spectrum (alpha-ReQ); 1 is called ideal",
    "kl-uniform": "matrix KL of unit rows to I/d, nats; 0 is uniform",
    "uniformity": "log mean Gaussian potential of pairs; lower is more uniform",
    "nc1": "tr(within / between) / K; 0 is neural collapse",
    "etf-distance": "distance of the class means from a simplex; 0 is one",
    "alignment": "mean squared distance of two views; 0 is invariant",
    "lidar": "effective rank of between-image over within-view covariance",
    "mutual-information": "matrix mutual information of two views, nats",
    "joint-entropy": "matrix joint entropy of two views, nats",
}


def of_features(
    features: feature_file.Features, *, per_class: int | None, seed: int
) -> tuple[dict, torch.Tensor, dict]:
    """Measures that need one row per image; the eigenvalues, descending; and n with the range of the slope's fit."""
    h, y, n = equalised(features, per_class, seed=seed)
    eigenvalues = spectrum(h).flip(0)
    values = {"rankme": geometry.rankme(h), "kl-uniform": geometry.kl_to_uniform(h)}
    values["uniformity"] = geometry.uniformity(h)
    context = {"n_per_class": n}
    if (found := geometry.alpha(eigenvalues)) is not None:
        values["alpha"], context["alpha_r2"], context["alpha_range"] = found
    if y is not None:
        values |= {"nc1": geometry.nc1(h, y), "etf-distance": geometry.etf_distance(h, y)}
    return {name: float(value) for name, value in values.items()}, eigenvalues, {**context, "images": len(h)}


def of_views(views: torch.Tensor) -> tuple[dict[str, float], dict[str, int]]:
    """Measures of V >= 2 views of each image (n, V, d), and of how many images each is; pairs are the first two views.

    The matrices are of images spread evenly over all: the first ones would be of few classes.
    """
    first, second, n = views[:, 0], views[:, 1], len(views)
    some = torch.linspace(0, n - 1, min(n, view_measures.MOST_FOR_MATRICES)).round().long()
    gram1, gram2 = (view_measures.gram(view[some]) for view in (first, second))
    values = {
        "alignment": (view_measures.alignment(first, second), n),
        "lidar": (view_measures.lidar(views), n),
        "mutual-information": (view_measures.matrix_mutual_information(gram1, gram2), len(some)),
        "joint-entropy": (view_measures.matrix_joint_entropy(gram1, gram2), len(some)),
    }
    return {name: float(value) for name, (value, _) in values.items()}, {name: of for name, (_, of) in values.items()}


def limited_by_n(values: dict, fitted: list[int] | None, n: int, views: torch.Tensor | None) -> list[str]:
    """A line for each measure that the number of images decides more than the representation does."""
    lines = []
    if values["rankme"] > 0.5 * n:
        lines.append(f"rankme {values['rankme']:.1f} is close to its bound of {n} images: it reads off n")
    if fitted and fitted[1] == n - 1:
        lines.append(f"alpha is fitted up to rank {n - 1}, the last that {n} images have: there n bends the spectrum")
    if views is not None:
        images, V, d = views.shape
        if images * (V - 1) < d:
            lines.append(
                f"lidar: {images} x {V - 1} differences of views do not fill {d} features, so that its ridge decides "
                f"and not the views; take more images or views"
            )
        elif values["lidar"] > 0.5 * (images - 1):
            lines.append(f"lidar {values['lidar']:.1f} is close to its bound of {images - 1}: it reads off n")
    return lines


def draw(eigenvalues: torch.Tensor, title: str, out: Path) -> None:
    """The eigenvalues' shares of the variance over their rank, on logarithmic axes."""
    from matplotlib import pyplot

    shares = (eigenvalues / eigenvalues.sum())[eigenvalues > 0]
    figure, axes = pyplot.subplots(figsize=(4.2, 3), layout="constrained")
    axes.loglog(range(1, len(shares) + 1), shares, color=INK, linewidth=1.5)
    axes.set(xlabel="rank of the eigenvalue", ylabel="share of the variance", title=title)
    axes.grid(color=GRID, linewidth=0.5)
    save(figure, out / "spectrum")


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description="Spectrum and geometry of features, and how two views of an image agree.")
    parser.add_argument("features", type=Path, metavar="FEATURES", help="features.safetensors")
    parser.add_argument("--views", type=Path, metavar="FEATURES", help="another file that holds the random views")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the analysis")
    parser.add_argument("--per-class", type=int, metavar="N", help="images of each class (default: the smallest class)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    arguments = parser.parse_args(argv)
    features = feature_file.read(arguments.features)
    views = features.views
    if arguments.views:
        other = feature_file.read(arguments.views)
        feature_file.need_same(features, other, "weights_sha256", "layer", "benchmark")
        if other.views is None:
            raise UserError(f"{arguments.views} holds no random views; extract it with --views N")
        views = other.views
    values, eigenvalues, context = of_features(features, per_class=arguments.per_class, seed=arguments.seed)
    other_n = {}
    if views is not None:
        found, other_n = of_views(views)
        values |= found
        context |= {"views": views.shape[1], "images_with_views": len(views)}
    for name, value in values.items():
        print(f"{name:20s} {value:10.4g}   {SHOWN[name]}")
    if views is None:
        print("no random views: without alignment, LiDAR and the matrix measures of two views (features.py --views N)")
    print(
        f"n: {context['images']} images" + (f", {context['images_with_views']} with views" if views is not None else "")
    )
    context["warnings"] = limited_by_n(values, context.get("alpha_range"), context["images"], views)
    for line in context["warnings"]:
        print(f"warning: {line}")
    draw(eigenvalues, features.title, arguments.out)
    context["eigenvalues"] = [float(f"{value:.6g}") for value in eigenvalues.tolist()]
    result.write(arguments.out, "spectra", features, values, n=context.pop("images"), other_n=other_n, **context)


if __name__ == "__main__":
    run(main)
