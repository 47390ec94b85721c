"""Ranks over training, of every kept checkpoint of every run, on the same images (Figure 3 of arXiv 2305.17326).

    python analysis/curves.py RUN... --data DIR --out OUT

RUN is a folder that holds pretrain/checkpoints/*.pth (log.keep_every), or that pretrain folder. Writes OUT/curves.json
after each checkpoint, so that the same command goes on where it was interrupted, then OUT/curves.svg and .png. The
backbone sees each image whole; no random views, no projector unless --layer projector.
"""

import argparse
from pathlib import Path

from analysis.extraction.options import add_image_options, image_options
from runtime.command_line import Parser, UserError, run


def parser() -> Parser:
    result = Parser(
        prog="curves.py", description="Effective ranks over training, of every kept checkpoint of every run."
    )
    result.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="holds pretrain/checkpoints/step-*.pth")
    result.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for curves.json and the picture")
    add_image_options(result)
    result.add_argument("--per-class", type=int, metavar="N", help="images of each class (default: the smallest class)")
    result.add_argument("--steps", type=int, nargs="+", metavar="STEP", help="only the checkpoints of these steps")
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
    from analysis.figures import curves
    from runtime import distributed

    try:
        followed = follow(
            arguments.runs,
            arguments.options,
            arguments.out,
            layer=arguments.layer,
            per_class=arguments.per_class,
            steps=arguments.steps,
            workers=arguments.workers,
            device=arguments.device,
        )
        if distributed.is_main():
            classes, each = followed.classes, followed.images // max(followed.classes, 1)
            note = f"{followed.images} images" + (f", {each} of each of {classes} classes" if classes else "")
            note += f"; {arguments.layer} features; covariance eigenvalues"
            paths = curves.draw(followed.runs, arguments.out / "curves", note=note)
            print(curves.table(followed.runs) + "\n" + "written: " + ", ".join(map(str, paths)))
    finally:
        distributed.shutdown()
    return 0


if __name__ == "__main__":
    run(main)
