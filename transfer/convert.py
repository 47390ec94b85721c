"""Turn any known ResNet-50 checkpoint into Detectron2 weights, and prove that nothing was lost on the way.

    python transfer/convert.py runs/matrix_ssl-demo-seed0/pretrain/backbone.pth backbone.pkl
    python transfer/convert.py moco_v2_800ep_pretrain.pth.tar moco_v2/backbone.pkl
    python transfer/convert.py --inspect swav_800ep_pretrain.pth.tar

The destination is backbone.pkl, which Detectron2 loads as it is, or backbone.pth, which the probes and the analysis of
this suite read and Detectron2 loads too. Beside it goes conversion.json: for each tensor of the source its new name or
the rule that dropped it, the hashes, where the weights come from, the input settings they need, and how far
torchvision's network and Detectron2's are apart at every stage. All 265 tensors arrive, or nothing is written.
docs/checkpoints.md lists the formats.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from pretrain.checkpoints.retention import variant_at
from runtime import provenance
from runtime.command_line import Parser, UserError, run
from runtime.files import sha256, write_json
from transfer.checkpoints import inspection, parity, read, resnet50, weights
from transfer.checkpoints.find_backbone import AUTO, Trunk, find_trunk
from transfer.checkpoints.rename import to_detectron2

LEDGER = "conversion.json"
WRITERS = {".pkl": weights.write, ".pth": weights.write_torch}


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    format: str = AUTO,
    take: str | None = None,
    method: str = "",
    epochs: int = 0,
) -> dict:
    """Convert ``source`` and return the ledger; at once if ``destination`` was made from it before.

    Args:
        format, take: as for ``find_trunk``.
        method, epochs: what the file does not tell of itself. A method that nobody tells is the file's name.

    Raises UserError if the source is no trained ResNet-50 with an ImageNet stem, if its format is unknown, or if
    ``destination`` or its ledger belongs to another conversion.
    """
    source, destination = Path(source), Path(destination)
    if destination.suffix not in WRITERS:
        raise UserError(f"the destination must end in .pkl or .pth, which says the format to write; got {destination}")
    if destination.exists() and source.exists() and destination.samefile(source):
        raise UserError(f"{destination} is the source itself; choose another destination")
    trunk = find_trunk(read.read(source).content, source, format=format, take=take)
    made = {"format": trunk.format, "take": trunk.take, "source": source.name, "source_sha256": sha256(source)}
    origin = _origin(source, trunk.about, method=method, epochs=epochs)
    # A file that was converted before keeps saying what it was made from first; the ledger is about this conversion.
    about = {**made, "converter_commit": provenance.commit(), **origin}
    ledger = {**about, **made, "output": destination.name}
    if known := _finished(source, destination, ledger):
        return known

    tensors = {new: trunk.tensors[name] for name, new in trunk.names.items()}
    resnet50.check(source, tensors)
    arrays = {to_detectron2(name): _array(tensor) for name, tensor in tensors.items()}
    differences = parity.stage_differences(tensors, arrays)
    if far := {stage: value for stage, value in differences.items() if not value < parity.TOLERANCE}:
        raise UserError(f"{source}: torchvision's and Detectron2's networks differ after conversion: {far}")

    WRITERS[destination.suffix](destination, arrays, about)
    ledger |= {
        "not_taken": [other for other in trunk.candidates if other != trunk.take],
        "output_sha256": weights.digest(arrays),
        "parity": differences,
        "tensors": _tensors(trunk, arrays),
        "other_keys": trunk.other_keys,
    }
    # The ledger comes last: its presence says that the conversion is complete.
    write_json(destination.with_name(LEDGER), ledger)
    return ledger


def _origin(source: Path, told: dict, **named) -> dict:
    """What the file tells, completed by what the user says; they must not contradict each other."""
    for key, value in named.items():
        if value and told[key] and value != told[key]:
            raise UserError(f"{source} says that its {key} is {told[key]}, not {value}; leave --{key} out")
    told = {**told, "variant": variant_at(source, told["variant"])}
    given = {key: told[key] or value for key, value in named.items()}
    return told | given | {"method": given["method"] or source.name.split(".")[0]}


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


def _tensors(trunk: Trunk, arrays: dict[str, np.ndarray]) -> dict:
    kept = {}
    for name, new in trunk.names.items():
        array = arrays[to_detectron2(new)]
        kept[name] = {"to": to_detectron2(new), "shape": list(array.shape), "sha256": weights.digest({"": array})}
    return {**kept, **{name: {"dropped": reason} for name, reason in trunk.dropped.items()}}


def _finished(source: Path, destination: Path, ledger: dict) -> dict | None:
    """The ledger of the same conversion, made before; UserError if another one lies there."""
    path = destination.with_name(LEDGER)
    if not path.exists():
        return None
    known = json.loads(path.read_text(encoding="utf-8"))
    output = destination.with_name(known.get("output", destination.name))
    if not output.exists():
        return None
    if output != destination:
        raise UserError(f"{path} is the ledger of {output}; give {destination.name} a folder of its own")
    if known["source_sha256"] != ledger["source_sha256"]:
        raise UserError(
            f"{destination} was made from another file: source sha256 {known['source_sha256'][:12]} there, "
            f"{ledger['source_sha256'][:12]} for {source}; choose another destination or delete it"
        )
    for key in ("format", "take", "method", "epochs"):
        if known.get(key, ledger[key]) != ledger[key]:
            raise UserError(
                f"{destination} was made from {source} with {key} {known[key]}, not {ledger[key]}; choose another "
                f"destination or delete it"
            )
    return known


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "source", metavar="SRC", nargs="?", help="the checkpoint: .pth, .pth.tar, .ckpt, .torch, .safetensors, .pkl"
    )
    parser.add_argument("destination", metavar="DST", nargs="?", help="where the weights go: a .pkl or a .pth")
    parser.add_argument(
        "--format", default=AUTO, help="the format by its name, for a file that fits several (%(default)s)"
    )
    parser.add_argument(
        "--take", metavar="NAME", help="which trunk of a file that holds several, as --inspect lists them"
    )
    parser.add_argument("--method", default="", help="the method's name, for a file that does not tell it")
    parser.add_argument("--epochs", type=int, default=0, help="its epochs of pretraining, likewise")
    parser.add_argument(
        "--inspect", action="store_true", help="print what SRC is and what would become of it; write nothing"
    )
    parser.add_argument("--formats", action="store_true", help="print the table of known formats and stop")
    arguments = parser.parse_args(argv)
    if arguments.formats:
        print(inspection.formats_table())
        return
    if not arguments.source or arguments.inspect == bool(arguments.destination):
        raise UserError("give SRC and a destination, or --inspect SRC, or --formats (see --help)")
    if arguments.inspect:
        print(inspection.report(Path(arguments.source), format=arguments.format, take=arguments.take))
        return
    options = {key: getattr(arguments, key) for key in ("format", "take", "method", "epochs")}
    ledger = convert(arguments.source, arguments.destination, **options)
    kept = sum("to" in entry for entry in ledger["tensors"].values())
    dropped = len(ledger["tensors"]) - kept
    left = f"; it also holds {', '.join(ledger['not_taken'])} (--take)" if ledger.get("not_taken") else ""
    print(
        f"{ledger['format']}, {ledger.get('take', 'online')}: {kept} tensors converted, {dropped} dropped by rule, "
        f"largest difference {max(ledger['parity'].values()):.1e} -> {arguments.destination}{left}"
    )


if __name__ == "__main__":
    run(main)
