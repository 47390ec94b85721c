"""Turn any known checkpoint of a backbone into Detectron2 weights, and prove that nothing was lost on the way.

    python transfer/convert.py runs/matrix_ssl-demo-seed0/pretrain/backbone.pth backbone.pkl
    python transfer/convert.py moco_v2_800ep_pretrain.pth.tar moco_v2/backbone.pkl
    python transfer/convert.py --inspect swav_800ep_pretrain.pth.tar

The destination is backbone.pkl, which Detectron2 loads as it is, or backbone.pth, which the probes and the analysis of
this suite read and Detectron2 loads too. Beside it goes the ledger, conversion.json (NAME.conversion.json for a
destination of another name): for each tensor of the source its new name or the rule that dropped it, the hashes, the
origin of the weights, the input they need, and how far the source's network and Detectron2's are apart at every stage.
All of a network's tensors arrive, or nothing is written. Networks: ResNet-18 to 152 (wide and ResNeXt too), ViTs, and
whatever of timm has feature maps. docs/checkpoints.md lists the formats with where the names were read; so does
--formats.
"""

import argparse
import math
import re
from pathlib import Path

from runtime.command_line import Parser, UserError, one_of, printable, run
from transfer.checkpoints.formats import AUTO, FORMATS

CHANNELS = "three numbers, as 103.53,116.28,123.675"


def parser() -> Parser:
    result = Parser(prog="convert.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "source",
        metavar="SRC",
        nargs="?",
        help="the checkpoint: .pth, .pth.tar, .ckpt, .torch, .safetensors, .npz, .pkl",
    )
    result.add_argument("destination", metavar="DST", nargs="?", help="where the weights go: a .pkl or a .pth")
    result.add_argument(
        "--format", default=AUTO, metavar="NAME", help="the format, for a file that fits several (%(default)s)"
    )
    result.add_argument(
        "--encoder", metavar="NAME", help="of a file with two: online, teacher, or a name that --inspect lists"
    )
    result.add_argument("--take", dest="encoder", help=argparse.SUPPRESS)
    result.add_argument(
        "--method", default="", metavar="NAME", help="the method's name; it counts for more than what the file says"
    )
    result.add_argument("--epochs", type=int, default=0, metavar="N", help="its epochs of pretraining, likewise")
    result.add_argument(
        "--input",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="what the network was fed, likewise: order=BGR pixel_mean=103.53,116.28,123.675 pixel_std=1,1,1 "
        "stride_in_1x1=true",
    )
    result.add_argument(
        "--heads", type=int, default=0, metavar="N", help="attention heads of a ViT; no tensor shows them"
    )
    result.add_argument(
        "--patch", type=int, default=0, metavar="N", help="resample a ViT's patch kernel to N pixels (ViTDet needs 16)"
    )
    result.add_argument(
        "--without-positions",
        action="store_true",
        help="convert a ViT with positions that ViTDet cannot hold (BEiT's, DINOv3's) without them",
    )
    result.add_argument(
        "--backbone", default="", metavar="timm:NAME", help="the network of timm that the weights are of"
    )
    result.add_argument(
        "--inspect", action="store_true", help="print what SRC is and what would become of it; write nothing"
    )
    result.add_argument("--formats", action="store_true", help="print the table of known formats and stop")
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line with ``input`` as a dict of typed values; UserError for what no checkpoint could make right."""
    arguments = parser().parse_args(argv)
    arguments.input = dict(map(_input_setting, arguments.input))
    if arguments.formats:
        return arguments
    if not arguments.source or arguments.inspect == bool(arguments.destination):
        raise UserError("give SRC and a destination, or --inspect SRC, or --formats (see --help)")
    if arguments.epochs < 0:
        raise UserError(f"--epochs must be 0 or more, got {arguments.epochs}")
    for option, value in (("heads", arguments.heads), ("patch", arguments.patch)):
        if value < 0:
            raise UserError(f"--{option} must be 1 or more, got {value}")
    if arguments.patch & (arguments.patch - 1):
        raise UserError(f"--patch must be a power of two, which ViTDet's pyramid needs, got {arguments.patch}")
    if arguments.backbone and not re.fullmatch(r"timm:\w+(\.\w+)?", arguments.backbone):
        raise UserError(
            f"--backbone is timm:NAME, as timm:convnext_tiny; other families are known by their tensors; got "
            f"{arguments.backbone!r}"
        )
    if arguments.format != AUTO:
        one_of("format", arguments.format, [entry.name for entry in FORMATS])
    return arguments


def _input_setting(text: str) -> tuple[str, object]:
    """``order=BGR`` -> ("order", "BGR")."""
    key, equals, value = text.partition("=")
    if key == "order" and value in ("RGB", "BGR"):
        return key, value
    if key in ("pixel_mean", "pixel_std"):
        try:
            channels = [float(number) for number in value.strip("[]").split(",")]
        except ValueError:
            channels = []
        least = 0 if key == "pixel_std" else -math.inf
        if len(channels) == 3 and all(math.isfinite(number) and number > least for number in channels):
            return key, channels
        raise UserError(f"--input {key} takes {CHANNELS}{', above 0' if least == 0 else ''}; got {value!r}")
    if key == "stride_in_1x1" and value.lower() in ("true", "false"):
        return key, value.lower() == "true"
    expected = f"order=RGB or BGR, pixel_mean= and pixel_std={CHANNELS}, stride_in_1x1=true or false"
    raise UserError(f"--input takes {expected}; got {text!r}")


def main(argv: list[str] | None = None) -> int:
    """Convert, inspect or list, as the command line says."""
    arguments = parse(argv)
    from transfer.checkpoints import conversion, inspection
    from transfer.checkpoints.families import Wishes

    if arguments.formats:
        print(inspection.formats_table())
        return 0
    wishes = Wishes(arguments.backbone, arguments.heads, arguments.patch, arguments.without_positions)
    if arguments.inspect:
        source = Path(arguments.source)
        print(inspection.report(source, format=arguments.format, encoder=arguments.encoder, wishes=wishes))
        return 0
    ledger = conversion.convert(
        arguments.source,
        arguments.destination,
        format=arguments.format,
        encoder=arguments.encoder,
        method=arguments.method,
        epochs=arguments.epochs,
        input=arguments.input,
        wishes=wishes,
    )
    kept = sum("to" in entry for entry in ledger["tensors"].values())
    dropped = len(ledger["tensors"]) - kept
    others = f"; it also holds {', '.join(ledger['not_taken'])} (--encoder)" if ledger.get("not_taken") else ""
    said = (
        f"{ledger['format']}, {ledger.get('take', 'online')}: {kept} tensors converted, {dropped} dropped by rule, "
        f"largest difference {max(ledger['parity'].values()):.1e} -> {arguments.destination}{others}"
    )
    print(printable(said))
    return 0


if __name__ == "__main__":
    run(main)
