"""Ranks over training, of every kept checkpoint of every run, on the same images (Figure 3 of arXiv 2305.17326);
matrix entropy, joint entropy and mutual information as well (arXiv 2309.17281).

    python analysis/curves.py RUN... --data DIR --out OUT

RUN is a folder that holds pretrain/checkpoints/*.pth (log.keep_every), or that pretrain folder. Writes OUT/curves.json
after each checkpoint, so that the same command goes on where it was interrupted, then OUT/curves.csv, and as .svg and
.png the ranks (curves), the entropies (information), and the entropies that the runs logged of their training batches
(logged). The backbone sees each image whole; --views adds two random views, by each run's own recipe, for what compares
two; --layer embeddings looks behind the projector, where the losses do.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.extraction.options import add_image_options, image_options
from runtime.command_line import Parser, UserError, run

if TYPE_CHECKING:
    from analysis.extraction.training_curves import Followed


def parser() -> Parser:
    result = Parser(
        prog="curves.py", description="Effective ranks over training, of every kept checkpoint of every run."
    )
    result.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="holds pretrain/checkpoints/step-*.pth")
    result.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for curves.json and the picture")
    add_image_options(result)
    result.add_argument("--per-class", type=int, metavar="N", help="images of each class (default: the smallest class)")
    result.add_argument("--steps", type=int, nargs="+", metavar="STEP", help="only the checkpoints of these steps")
    text = "two random views of each image as well: mutual information and joint entropy"
    result.add_argument("--views", action="store_true", help=text)
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line with its ``options`` for the images; UserError for what cannot be."""
    arguments = parser().parse_args(argv)
    arguments.options = image_options(arguments)
    if arguments.per_class is not None and arguments.per_class < 2:
        raise UserError(f"--per-class must be at least 2, got {arguments.per_class}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Measure what is not in curves.json yet, then draw."""
    arguments = parse(argv)
    from analysis.extraction.training_curves import follow
    from runtime import distributed

    try:
        followed = follow(
            arguments.runs,
            arguments.options,
            arguments.out,
            layer=arguments.layer,
            per_class=arguments.per_class,
            steps=arguments.steps,
            views=arguments.views,
            workers=arguments.workers,
            device=arguments.device,
        )
        if distributed.is_main():
            show(followed, arguments.out, arguments.layer)
    finally:
        distributed.shutdown()
    return 0


def show(followed: "Followed", out: Path, layer: str) -> None:
    """Write the table and the pictures, and print the first and the last values."""
    from analysis.extraction.training_curves import write_csv
    from analysis.figures import curves

    classes, each = followed.classes, followed.images // max(followed.classes, 1)
    of = f"{followed.images} images" + (f", {each} of each of {classes} classes" if classes else "")
    of += "; embeddings" if layer == "embeddings" else f"; {layer} features"
    nats = "nats, order 2 (arXiv 2309.17281)"
    entropies = {"shown": curves.INFORMATION, "columns": 3}
    write_csv(followed.runs, out / "curves.csv")
    paths = curves.draw(followed.runs, out / "curves", note=f"{of}; covariance eigenvalues")
    paths += curves.draw(followed.runs, out / "information", note=f"{of}; {nats}", **entropies)
    paths += curves.draw(followed.logged, out / "logged", note=f"training batches; {nats}", points=False, **entropies)
    print(curves.table(followed.runs))
    if any("matrix-entropy-2" in point["values"] for points in followed.runs.values() for point in points):
        print(curves.table(followed.runs, curves.ENTROPIES))
    print("written: " + ", ".join(map(str, [out / "curves.csv", *paths])))


if __name__ == "__main__":
    run(main)
