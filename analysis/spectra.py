"""The spectrum of a representation and what the field reads off it, each measure as its source defines it.

    python analysis/spectra.py features.safetensors --out DIR [--views views.safetensors]

Writes DIR/spectra.json (the eigenvalues among it), a picture of them, and the records. Measures of two views or more
(alignment, LiDAR, matrix mutual information, joint entropy) need features extracted with --views N; classes are needed
for the measures of neural collapse. The measures themselves stand in ``geometry`` and ``view_measures``.
"""

from pathlib import Path

import matplotlib
import torch

from analysis import feature_file, geometry, measured, view_measures
from analysis.effective_rank import equalised
from analysis.figures import GRID, INK, save
from pretrain.class_ranks import spectrum
from pretrain.command_line import Parser, UserError, run

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


def of_views(views: torch.Tensor) -> dict[str, float]:
    """Measures of V >= 2 views of each image (n, V, d); the pairwise ones take the first two."""
    first, second = views[:, 0], views[:, 1]
    most = view_measures.MOST_FOR_MATRICES
    gram1, gram2 = (view_measures.gram(view[:most]) for view in (first, second))
    values = {
        "alignment": view_measures.alignment(first, second),
        "lidar": view_measures.lidar(views),
        "mutual-information": view_measures.matrix_mutual_information(gram1, gram2),
        "joint-entropy": view_measures.matrix_joint_entropy(gram1, gram2),
    }
    return {name: float(value) for name, value in values.items()}


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
    if views is not None:
        values |= of_views(views)
        context |= {"views": views.shape[1], "images_with_views": len(views)}
    for name, value in values.items():
        print(f"{name:20s} {value:10.4g}   {SHOWN[name]}")
    if views is None:
        print("no random views: without alignment, LiDAR and the matrix measures of two views (features.py --views N)")
    print(
        f"n: {context['images']} images" + (f", {context['images_with_views']} with views" if views is not None else "")
    )
    draw(eigenvalues, features.title, arguments.out)
    context["eigenvalues"] = [float(f"{value:.6g}") for value in eigenvalues.tolist()]
    measured.write(arguments.out, "spectra", features, values, n=context.pop("images"), **context)


if __name__ == "__main__":
    run(main)
