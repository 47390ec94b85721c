"""Converting a ViT's checkpoint against reading and writing it: seconds, CPU seconds and peak memory, in one run.

    python benchmarks/conversion.py --size large

The file is drawn, under MAE's names. Each round copies it (torch.load, a pickle, both on the disk when they end), and
converts it without and with the comparison of the two networks. That is arithmetic, the rest is what a copy does.
Of the rounds, the fastest counts: what else the machine does can only make one slower.
"""

import argparse
import os
import pickle
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch

from transfer.checkpoints import conversion
from transfer.checkpoints.families import Wishes
from transfer.checkpoints.renaming import vit

SIZES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}


def drawn(path: Path, width: int, depth: int, heads: int) -> None:
    """Write a ViT of MAE's names with random values."""
    from timm.models.vision_transformer import VisionTransformer

    network = VisionTransformer(embed_dim=width, depth=depth, num_heads=heads, num_classes=0)
    torch.save({"model": network.state_dict()}, path)


def copied(source: Path, destination: Path) -> None:
    """What a conversion cannot do without: all tensors are read and written."""
    tensors = torch.load(source, weights_only=True, map_location="cpu")["model"]
    with destination.open("wb") as file:
        pickle.dump({name: tensor.numpy() for name, tensor in tensors.items()}, file, protocol=4)
        file.flush()
        os.fsync(file.fileno())


def converted(source: Path, destination: Path, heads: int) -> None:
    conversion.convert(source, destination, wishes=Wishes(heads=heads))


def converted_unproven(source: Path, destination: Path, heads: int) -> None:
    with mock.patch.object(vit, "differences", lambda *_: {"not compared": 0.0}):
        converted(source, destination, heads)


def peak(source: Path, destination: Path, heads: int, result) -> None:
    """Send the most memory, in bytes, that a process of its own has for one conversion, its libraries included."""
    converted(source, destination, heads)
    result.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)


class Took(NamedTuple):
    elapsed: float
    cpu: float


def took(function: Callable, source: Path, folder: Path, *arguments) -> Took:
    start, cpu = time.perf_counter(), time.process_time()
    function(source, folder / "result.pkl", *arguments)
    result = Took(time.perf_counter() - start, time.process_time() - cpu)
    for path in (folder / "result.pkl", conversion.ledger_path(folder / "result.pkl")):
        path.unlink(missing_ok=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    width, depth, heads = SIZES[arguments.size]
    context = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.pth"
        result = context.SimpleQueue()
        for target, given in ((drawn, (width, depth)), (peak, (Path(folder) / "peak.pkl",))):
            more = (result,) if target is peak else ()
            process = context.Process(target=target, args=(source, *given, heads, *more))
            process.start()
            process.join()
        size, memory = source.stat().st_size, result.get()
        (Path(folder) / "peak.pkl").unlink()
        rounds = [
            (
                took(copied, source, Path(folder)),
                took(converted_unproven, source, Path(folder), heads),
                took(converted, source, Path(folder), heads),
            )
            for _ in range(arguments.repeats)
        ]
    print(f"ViT-{arguments.size}, {size / 1e6:.0f} MB; peak memory {memory / size:.2f} x the file")
    for what in Took._fields:
        copy, unproven, whole = (min(getattr(one, what) for one in column) for column in zip(*rounds, strict=True))
        print(
            f"{what:8} copy {copy:.2f} s, conversion {unproven:.2f} s ({unproven / copy:.2f} x), with the comparison "
            f"{whole:.2f} s ({whole / copy:.2f} x)"
        )


if __name__ == "__main__":
    main()
