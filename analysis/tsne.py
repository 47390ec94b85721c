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

import argparse
from pathlib import Path

from runtime.command_line import Parser, UserError, numbers, one_of, run

METHODS = ("tsne", "umap")


def parser() -> Parser:
    result = Parser(
        prog="tsne.py", description="Panels of t-SNE, one per feature file, over the same images of the first classes."
    )
    result.add_argument("features", type=Path, nargs="+", metavar="FEATURES", help="features.safetensors, one a panel")
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    result.add_argument("--classes", default="5,10", help="first classes shown, a picture each (default %(default)s)")
    result.add_argument("--per-class", type=int, metavar="N", help="images of each class (default: all)")
    result.add_argument("--method", default="tsne", help="tsne or umap (default %(default)s)")
    result.add_argument("--seed", type=int, default=0, help="of every panel (default 0)")
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line with ``classes`` as numbers; UserError for what no feature file could make right."""
    arguments = parser().parse_args(argv)
    one_of("method", arguments.method, METHODS)
    try:
        arguments.classes = numbers(arguments.classes, least=2)
    except UserError as error:
        raise UserError(f"--classes: {error}") from error
    if arguments.per_class is not None and arguments.per_class < 1:
        raise UserError(f"--per-class must be at least 1, got {arguments.per_class}")
    if not 0 <= arguments.seed < 2**32:
        raise UserError(f"--seed must lie in 0 .. {2**32 - 1}, got {arguments.seed}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Draw the panels."""
    arguments = parse(argv)
    from analysis.extraction import feature_file
    from analysis.figures.embedding import draw_panels

    draw_panels(
        [feature_file.read(path) for path in arguments.features],
        arguments.out,
        counts=arguments.classes,
        per_class=arguments.per_class,
        method=arguments.method,
        seed=arguments.seed,
    )
    return 0


if __name__ == "__main__":
    run(main)
