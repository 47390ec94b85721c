"""How many directions a representation uses: within classes, between classes and in all (arXiv 2305.17326, appendix D).

    python analysis/effective_rank.py features.safetensors --out DIR

Every rank is given over covariance eigenvalues (``cov``, the papers' definition) and over singular values (``sv``,
about twice as large), by name. A rank cannot exceed the number of images less one, and reads off that number long
before it reaches it: every class gives the same n, n is printed, and a value that still grows with n is marked.
"""

import argparse
from pathlib import Path

from runtime.command_line import Parser, UserError, run


def parser() -> Parser:
    result = Parser(
        prog="effective_rank.py", description="Effective ranks of features, within classes, between them and in all."
    )
    result.add_argument("features", type=Path, metavar="FEATURES", help="features.safetensors")
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the analysis")
    result.add_argument("--per-class", type=int, metavar="N", help="images of each class (default: the smallest class)")
    result.add_argument("--resamples", type=int, default=50, help="of the bootstrap, 0 for none (default %(default)s)")
    result.add_argument("--seed", type=int, default=0, help="of the draw, the batches and the bootstrap (default 0)")
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; UserError for what no feature file could make right."""
    arguments = parser().parse_args(argv)
    if arguments.resamples < 0 or arguments.resamples == 1:
        raise UserError(f"--resamples must be 0 or at least 2, got {arguments.resamples}")
    if arguments.per_class is not None and arguments.per_class < 2:
        raise UserError(f"--per-class must be at least 2, got {arguments.per_class}")
    if arguments.seed < 0:
        raise UserError(f"--seed must be 0 or more, got {arguments.seed}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write DIR/effective_rank.json and the records."""
    arguments = parse(argv)
    from analysis.extraction import feature_file, measure_file
    from analysis.measures.effective_rank import measure

    features = feature_file.read(arguments.features)
    h, y, n = features.equalised(arguments.per_class, seed=arguments.seed)
    measured = measure(h, y, resamples=arguments.resamples, seed=arguments.seed)
    for name, value in measured["values"].items():
        low, high = measured["intervals"].get(name, (None, None))
        print(f"{name:16s} {value:10.4g}" + (f"   95% {low:.4g} to {high:.4g}" if low is not None else ""))
    print(f"n: {len(h)} images" + (f", {n} of each of {len(y.unique())} classes" if y is not None else ", no classes"))
    for line in measured["warnings"]:
        print(f"warning: {line}")
    context = {"n_per_class": n, "resamples": arguments.resamples, "seed": arguments.seed}
    context |= {key: measured[key] for key in ("intervals", "warnings", "limited")}
    measure_file.write(arguments.out, "effective_rank", features, measured["values"], n=len(h), **context)
    return 0


if __name__ == "__main__":
    run(main)
