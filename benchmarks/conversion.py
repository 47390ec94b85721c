"""Converting a ViT's checkpoint against reading and writing it: CPU seconds and peak memory, in one run.

    python benchmarks/conversion.py --size large

The file is drawn, under MAE's names. The parity check is timed apart: it is arithmetic, the rest is what a copy is
compared with.
"""

import argparse
import pickle
import resource
import tempfile
import time
from pathlib import Path
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


def seconds(function, *arguments, **options) -> float:
    start = time.process_time()
    function(*arguments, **options)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    width, depth, heads = SIZES[arguments.size]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.pth"
        process = torch.multiprocessing.get_context("spawn").Process(target=drawn, args=(source, width, depth, heads))
        process.start()
        process.join()
        size = source.stat().st_size
        idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        parity: list[float] = []
        check = vit.differences

        def timed(*given) -> dict[str, float]:
            start = time.process_time()
            found = check(*given)
            parity.append(time.process_time() - start)
            return found

        with mock.patch.object(vit, "differences", timed):
            for repeat in range(arguments.repeats):
                destination = Path(folder) / f"{repeat}.pkl"
                whole = seconds(conversion.convert, source, destination, wishes=Wishes(heads=heads))
                peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - idle
                copy = seconds(copied, source, Path(folder) / "copy.pkl")
                destination.unlink()
                rest = whole - parity[-1]
                print(
                    f"ViT-{arguments.size} ({size / 1e6:.0f} MB): copy {copy:.2f} CPU s, conversion {rest:.2f} "
                    f"({rest / copy:.2f} x), parity {parity[-1]:.2f} besides; peak memory {peak / size:.2f} x the file"
                )


if __name__ == "__main__":
    main()
