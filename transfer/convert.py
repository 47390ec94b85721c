"""Turn a pretrained backbone into Detectron2 weights, and prove that nothing was lost on the way.

    python transfer/convert.py runs/matrix_ssl-demo-seed0/pretrain/backbone.pth backbone.pkl

writes backbone.pkl, which Detectron2 loads as it is, and conversion.json beside it: for each tensor of the source its
new name or the rule that dropped it, the hashes, where the weights come from, the input settings they need, and how far
torchvision's network and Detectron2's are apart at every stage. All 265 tensors arrive, or nothing is written.
"""

import argparse
import json
from pathlib import Path

import torch

from pretrain import checkpoint, provenance
from pretrain.command_line import Parser, UserError, run
from pretrain.files import sha256, write_json
from transfer import parity, resnet50, weights
from transfer.formats import Trunk, find_trunk
from transfer.renaming import to_detectron2

LEDGER = "conversion.json"


def convert(source: str | Path, destination: str | Path) -> dict:
    """Convert ``source`` and return the ledger; at once if ``destination`` was made from the same file before.

    Raises UserError if the source is no trained ResNet-50 with an ImageNet stem, if its format is unknown, or if
    ``destination`` was made from another file.
    """
    source, destination = Path(source), Path(destination)
    if destination.suffix != ".pkl":
        raise UserError(f"the destination must end in .pkl, by which Detectron2 knows the format; got {destination}")
    trunk = find_trunk(checkpoint.read(source), source)
    source_sha256 = sha256(source)
    if ledger := _finished(source, source_sha256, destination):
        return ledger

    tensors = {trunk.names[name]: trunk.tensors[name] for name in trunk.names}
    check(source, tensors)
    arrays = {to_detectron2(name): tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}
    differences = parity.stage_differences(tensors, arrays)
    if far := {stage: value for stage, value in differences.items() if not value < parity.TOLERANCE}:
        raise UserError(f"{source}: torchvision's and Detectron2's networks differ after conversion: {far}")

    about = _about(trunk, source, source_sha256)
    ledger = {**about, "output_sha256": weights.digest(arrays), "parity": differences, "tensors": _ledger(trunk)}
    weights.write(destination, arrays, about)
    # The ledger comes last: its presence says that the conversion is complete.
    write_json(destination.with_name(LEDGER), ledger)
    return ledger


def check(source: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Raise UserError unless ``tensors`` (torchvision names) are a trained ImageNet ResNet-50 with finite values."""
    if why := resnet50.fault({name: tuple(tensor.shape) for name, tensor in tensors.items()}):
        raise UserError(f"{source} is not a ResNet-50 for Detectron2: {why}")
    if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise UserError(f"{source}: {len(bad)} tensors hold NaN or infinity, the first {bad[0]}; training diverged")
    variances = [tensor for name, tensor in tensors.items() if name.endswith("running_var")]
    if all((variance == 1).all() for variance in variances):
        raise UserError(
            f"{source} is untrained: all {len(variances)} BatchNorm variances are exactly 1; "
            f"for a row from scratch use transfer/train.py --weights random"
        )


def _about(trunk: Trunk, source: Path, source_sha256: str) -> dict:
    origin = dict(trunk.about)
    seen = origin.pop("input")
    return {
        "format": trunk.format,
        **origin,
        "source": source.name,
        "source_sha256": source_sha256,
        "converter_commit": provenance.commit(),
        "input": {
            "order": seen["order"],
            "pixel_mean": [round(255 * value, 4) for value in seen["mean"]],
            "pixel_std": [round(255 * value, 4) for value in seen["std"]],
            "stride_in_1x1": False,
        },
    }


def _ledger(trunk: Trunk) -> dict:
    kept = {name: {"to": to_detectron2(new)} for name, new in trunk.names.items()}
    return {**kept, **{name: {"dropped": reason} for name, reason in trunk.dropped.items()}}


def _finished(source: Path, source_sha256: str, destination: Path) -> dict | None:
    ledger = destination.with_name(LEDGER)
    if not (destination.exists() and ledger.exists()):
        return None
    known = json.loads(ledger.read_text(encoding="utf-8"))
    if known["source_sha256"] != source_sha256:
        raise UserError(
            f"{destination} was made from another file: source sha256 {known['source_sha256'][:12]} there, "
            f"{source_sha256[:12]} for {source}; choose another destination or delete it"
        )
    return known


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SRC", help="backbone.pth, a training checkpoint.pth, or a torchvision file")
    parser.add_argument("destination", metavar="DST.pkl", help="where the Detectron2 weights go")
    arguments = parser.parse_args(argv)
    ledger = convert(arguments.source, arguments.destination)
    kept = sum("to" in entry for entry in ledger["tensors"].values())
    dropped = len(ledger["tensors"]) - kept
    print(
        f"{ledger['format']}: {kept} tensors converted, {dropped} dropped by rule, "
        f"largest difference {max(ledger['parity'].values()):.1e} -> {arguments.destination}"
    )


if __name__ == "__main__":
    run(main)
