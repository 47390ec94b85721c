"""What a million images cost before and while they are read: listing and index, and files against shards.

    python benchmarks/images_at_scale.py [--names 100000] [--images 2000] [--rounds 5] [--out DIR]

One process, CPU time, interleaved, median of the rounds; bytes by tracemalloc, in a round of their own. The names are
those of empty files in 100 folders; the images are small JPEG files, read in a random order. Everything is in the page
cache: a cold cache, or the server of a network file system, cannot be forced from here, and there an open costs more.
Exit code 1 if listing costs more than 3 us or 100 bytes an image.
"""

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision import datasets

from pretrain.data import packing, shards
from pretrain.data.decode import read_pixels
from pretrain.data.image_index import ImageIndex
from pretrain.data.walk import image_index

MOST_US, MOST_BYTES = 3.0, 100.0
FOLDERS = 100


def cpu_times(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of CPU of each, one after another in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.process_time()
            way()
            seconds[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def held_bytes(way: Callable[[], object]) -> int:
    """What the result of a function holds in memory."""
    tracemalloc.start()
    result = way()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return held


def empty_files(root: Path, count: int) -> Path:
    """Files named like those of ImageNet."""
    for number in range(FOLDERS):
        folder = root / f"n{number:08d}"
        folder.mkdir(parents=True)
        for image in range(count // FOLDERS):
            os.close(os.open(folder / f"n{number:08d}_{image:05d}.JPEG", os.O_CREAT | os.O_WRONLY))
    return root


def jpeg_files(root: Path, count: int) -> Path:
    """``count`` JPEG files of 200 x 150 pixels in 10 folders, 20 different pictures."""
    contents = []
    for number in range(20):
        picture = Image.fromarray(load_sample_images().images[number % 2]).rotate(number).resize((200, 150))
        picture.save(buffer := io.BytesIO(), "JPEG", quality=90)
        contents.append(buffer.getvalue())
    for number in range(count):
        path = root / f"{number % 10}/{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[number % 20])
    return root


def list_names(folder: Path, count: int, rounds: int) -> bool:
    """Print what listing costs; whether it is within the limits."""
    root, path = empty_files(folder / "names", count), folder / "images.safetensors"
    image_index(root).write(path)
    ways = {
        "torchvision's ImageFolder": lambda: datasets.ImageFolder(root),
        "the first process lists": lambda: image_index(root),
        "the first process writes the index": lambda: (path.unlink(), image.write(path)),
        "another process maps it": lambda: ImageIndex.read(path),
    }
    image = image_index(root)
    seconds = cpu_times(ways, rounds)
    held = {name: held_bytes(ways[name]) for name in ways if "writes" not in name}
    print(f"{count} names, each round after the other, an image:")
    for name, spent in seconds.items():
        memory = f"{held[name] / count:8.0f} bytes in its memory" if name in held else ""
        print(f"  {name:38s}{spent / count * 1e6:9.2f} us{memory}")
    in_file = path.stat().st_size / count
    print(f"  {'the index on disk':38s}{'':12s}{in_file:8.0f} bytes")
    listing = sum(seconds[name] for name in ways if name.startswith("the first")) / count * 1e6
    return listing <= MOST_US and max(held["the first process lists"] / count, in_file) <= MOST_BYTES


def read_images(folder: Path, count: int, rounds: int) -> None:
    """Print what reading costs."""
    root, out = jpeg_files(folder / "files", count), folder / "packed"
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        packing.pack(root, out, shard_bytes=16 << 20)
    packed = time.process_time() - began
    opened = shards.Shards(out)
    order = np.random.default_rng(0).permutation(count).tolist()
    paths = [os.path.join(root, opened.index.name(i)) for i in order]

    def whole_file(path: str) -> bytes:
        with open(path, "rb") as file:  # noqa: PTH123 - as quick as Python can
            return file.read()

    ways = {
        "bytes of files": lambda: [whole_file(path) for path in paths],
        "bytes of shards, CRC-32 compared": lambda: [opened.read(i) for i in order],
        "pixels of files": lambda: [read_pixels(path).shape for path in paths],
        "pixels of shards": lambda: [read_pixels("", opened.read(i)).shape for i in order],
        "look at a pack at the start": lambda: (shards.check(out), shards.Shards(out)),
    }
    seconds = cpu_times(ways, rounds)
    size = int(opened.places.size.sum())
    print(f"{count} JPEG files of {size / count / 1e3:.0f} kB in random order, warm, an image:")
    print("\n".join(f"  {name:38s}{spent / count * 1e6:9.2f} us" for name, spent in seconds.items()))
    print(f"  {'packing, each image compared (once)':38s}{packed / count * 1e6:9.2f} us")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--names", type=int, default=100_000, help="empty files to list (default %(default)s)")
    parser.add_argument("--images", type=int, default=2000, help="images to read (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for the files (a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.out) as temporary:
        within = list_names(Path(temporary), options.names, options.rounds)
        read_images(Path(temporary), options.images, options.rounds)
    print("within the limits" if within else f"more than {MOST_US} us or {MOST_BYTES:.0f} bytes an image")
    return int(not within)


if __name__ == "__main__":
    sys.exit(main())
