"""The spectrum of a representation and what the field reads off it, each measure as its source defines it.

    python analysis/spectra.py features.safetensors --out DIR [--views views.safetensors]

Writes DIR/spectra.json (the eigenvalues among it), a picture of them, and the records. Measures of two views or more
(alignment, LiDAR, matrix mutual information, joint entropy) need features extracted with --views N; classes are needed
for the measures of neural collapse. The measures themselves are in ``measures/``.
"""

import argparse
from pathlib import Path

from runtime.command_line import Parser, UserError, run

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


def parser() -> Parser:
    result = Parser(
        prog="spectra.py", description="Spectrum and geometry of features, and how two views of an image agree."
    )
    result.add_argument("features", type=Path, metavar="FEATURES", help="features.safetensors")
    result.add_argument("--views", type=Path, metavar="FEATURES", help="another file that holds the random views")
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the analysis")
    result.add_argument("--per-class", type=int, metavar="N", help="images of each class (default: the smallest class)")
    result.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; UserError for what no feature file could make right."""
    arguments = parser().parse_args(argv)
    if arguments.per_class is not None and arguments.per_class < 2:
        raise UserError(f"--per-class must be at least 2, got {arguments.per_class}")
    if arguments.seed < 0:
        raise UserError(f"--seed must be 0 or more, got {arguments.seed}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Measure, print, draw, and write DIR/spectra.json and the records."""
    arguments = parse(argv)
    from analysis.extraction import feature_file, measure_file
    from analysis.figures import spectrum
    from analysis.measures import spectra

    features = feature_file.read(arguments.features)
    views = _views(features, arguments.views)
    h, y, n = features.equalised(arguments.per_class, seed=arguments.seed)
    values, eigenvalues, context = spectra.of_features(h, y)
    context["n_per_class"] = n
    other_n = {}
    if views is not None:
        of_views, other_n = spectra.of_views(views)
        values |= of_views
        context |= {"views": views.shape[1], "images_with_views": len(views)}
    for name, value in values.items():
        print(f"{name:20s} {value:10.4g}   {SHOWN[name]}")
    if views is None:
        print("no random views: without alignment, LiDAR and the matrix measures of two views (features.py --views N)")
    print(f"n: {len(h)} images" + (f", {len(views)} with views" if views is not None else ""))
    limits = spectra.limited_by_n(values, context.get("alpha_range"), len(h), views)
    context |= {"warnings": [f"{name} {why}" for name, why in limits.items()], "limited": sorted(limits)}
    for line in context["warnings"]:
        print(f"warning: {line}")
    spectrum.draw(eigenvalues, features.title, arguments.out)
    context["eigenvalues"] = [float(f"{value:.6g}") for value in eigenvalues.tolist()]
    measure_file.write(arguments.out, "spectra", features, values, n=len(h), other_n=other_n, **context)
    return 0


def _views(features, other_file: Path | None):
    """The random views (n, V, d) of the features, or those of another file of the same backbone; None without any."""
    if other_file is None:
        return features.views
    from analysis.extraction import feature_file

    other = feature_file.read(other_file)
    feature_file.need_same(features, other, "weights_sha256", "layer", "benchmark")
    if other.views is None:
        raise UserError(f"{other_file} holds no random views; extract it with --views N")
    return other.views


if __name__ == "__main__":
    run(main)
