"""Extract a backbone's features of labelled images once, for every measure of this folder.

    python analysis/features.py --backbone backbone.pth --images DIR --out features.safetensors
    torchrun --nproc-per-node 8 analysis/features.py ...          the same file, eight times as fast

DIR is a folder of class folders, any tree of images, or the folder of CIFAR's unpacked archive (--format cifar100). A
whole image is resized and cropped at its centre, as for the nearest-neighbour probe. --views N adds N random views of
each image, for the measures that compare views. --layer projector needs checkpoint.pth: backbone.pth has no projector.
"""

from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from analysis.extraction import feature_file
from analysis.extraction.images import FORMATS, Prepared, RandomViews, choose, open_images
from pretrain.data import views
from runtime import distributed
from runtime.command_line import Parser, UserError, one_of, run
from runtime.progress import Progress
from runtime.provenance import commit
from transfer.backbones import LAYERS, RANDOM
from transfer.backbones.frozen import Backbone, load, measure_statistics

SETTINGS = ("format", "split", "size", "resize", "limit_per_class", "sample_seed", "views", "half")


@torch.inference_mode()
def extract(
    network: nn.Module, images: Prepared, *, normalise, device: torch.device, workers: int, half: bool, quiet=False
):
    """Features (n, d) of the images and (n, V, d) of their views (None without), in order, on the CPU of rank 0.

    Every rank takes an equal share of each batch; the last one is filled up by repeating its last image.
    """
    world, n = distributed.world_size(), len(images)
    batch = 64 * world
    steps = -(-n // batch)
    mine = [min(step * batch + distributed.rank() * 64 + i, n - 1) for step in range(steps) for i in range(64)]
    loader = DataLoader(torch.utils.data.Subset(images, mine), batch_size=64, num_workers=workers)
    progress = Progress(n, "features", quiet=quiet or not distributed.is_main())
    mixed = torch.autocast("cuda", torch.float16) if half and device.type == "cuda" else nullcontext()
    dtype, parts = torch.float16 if half else torch.float32, ([], [])
    for done, (crops, drawn) in enumerate(loader, start=1):
        wanted = [crops] if drawn.shape[1] == 0 else [crops, drawn.flatten(0, 1)]
        for rows, pixels in zip(parts, wanted, strict=False):
            with mixed:
                inputs = normalise(pixels.to(device)).contiguous(memory_format=torch.channels_last)
                h = network(inputs).float()
            rows.append(distributed.gather(h.unflatten(0, (len(crops), -1))).to("cpu", dtype))
        progress.update(min(done * batch, n))
    h = torch.cat(parts[0])[:n, 0]
    return h, torch.cat(parts[1])[:n] if parts[1] else None


def random_views(network: Backbone, *, size: int, count: int, seed: int) -> RandomViews:
    """``count`` random views by the recipe the network was trained with, at ``size`` pixels."""
    stored = network.views
    same = {key: stored[key] for key in ("recipe", "min_scale", "interpolation") if key in stored}
    recipe = views.ViewsConfig(size=size, **same)
    return RandomViews(views.Augment(views.recipe(recipe)), count, seed)


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description="Extract a backbone's features of images, with labels and names, into one file.")
    parser.add_argument("--backbone", required=True, metavar="B", help="backbone.pth, checkpoint.pth, or random")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="class folders, any tree, or CIFAR")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="features.safetensors to write")
    parser.add_argument("--layer", default="backbone", help=f"{' or '.join(LAYERS)} (default %(default)s)")
    parser.add_argument("--format", default="folder", help=f"of DIR: {', '.join(FORMATS)} (default %(default)s)")
    parser.add_argument("--split", default="test", help="of CIFAR: train or test (default %(default)s)")
    parser.add_argument("--labels", type=Path, metavar="CSV", help="lines name,class; instead of class folders")
    parser.add_argument("--benchmark", metavar="NAME", help="name of the data set in tables (default: DIR's name)")
    parser.add_argument("--limit-per-class", type=int, metavar="N", help="draw at most N images of a class")
    parser.add_argument("--views", type=int, default=0, metavar="N", help="random views of each image besides")
    parser.add_argument("--size", type=int, help="side of the crop, pixels (default 224; CIFAR 32)")
    parser.add_argument("--resize", type=int, help="short side before the crop (default size * 8 / 7; CIFAR 32)")
    parser.add_argument("--half", action="store_true", help="store float16 (and compute in it on a GPU)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes per rank (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--seed", type=int, default=0, help="of the untrained network (default 0)")
    parser.add_argument("--sample-seed", type=int, default=0, help="of --limit-per-class and --views (default 0)")
    arguments = parser.parse_args(argv)
    try:
        write_features(arguments)
    finally:
        distributed.shutdown()


def write_features(arguments) -> None:
    """Extract as the command line says and write the file; returns at once where the same is there already."""
    one_of("layer", arguments.layer, LAYERS)
    limit = arguments.limit_per_class
    if (limit is not None and limit < 1) or arguments.views < 0 or arguments.views == 1:
        raise UserError("--limit-per-class must be at least 1, and --views 0 or at least 2")
    cifar = arguments.format != "folder"
    arguments.size = arguments.size or (32 if cifar else 224)
    arguments.resize = arguments.resize or (arguments.size if cifar else round(arguments.size * 8 / 7))
    images = open_images(arguments.images, arguments.format, split=arguments.split, labels=arguments.labels)
    places = choose(images.labels, limit, arguments.sample_seed) if limit else list(range(len(images.labels)))
    labels, names = [images.labels[i] for i in places], [images.names[i] for i in places]
    network = load(arguments.backbone, arguments.layer, seed=arguments.seed, unfinished=True)
    about = {
        **network.about,
        "seed": network.seed,
        "step": network.step,
        "layer": arguments.layer,
        "classes": images.classes,
    }
    about["benchmark"] = arguments.benchmark or (arguments.format if cifar else arguments.images.resolve().name)
    about["settings"] = {key: getattr(arguments, key) for key in SETTINGS}
    if arguments.out.exists():
        there = feature_file.read(arguments.out).about
        same = {**about, "images_sha256": feature_file.images_sha256(names, labels)}
        if differing := [key for key, value in same.items() if there.get(key) != value]:
            raise UserError(f"{arguments.out} holds other features ({', '.join(differing)}); choose another --out")
        print(f"done already: {arguments.out}")
        return
    device = distributed.init(arguments.device)
    augment = random_views(network, size=arguments.size, count=arguments.views, seed=arguments.sample_seed)
    prepared = Prepared(
        images, places, size=arguments.size, resize=arguments.resize, augment=augment if arguments.views else None
    )
    module = network.network.to(device, memory_format=torch.channels_last)
    if arguments.backbone == RANDOM:
        measure_statistics(module, prepared, seed=arguments.seed, device=device, prepare=network.inputs)
    h, drawn = extract(
        module,
        prepared,
        normalise=network.inputs,
        device=device,
        workers=arguments.workers,
        half=arguments.half,
    )
    if distributed.is_main():
        feature_file.refuse_bad_rows(h, names, where=arguments.backbone)
        about |= {"commit": commit()}
        feature_file.write(arguments.out, h, labels=labels, names=names, views=drawn, about=about)
        print(f"features: {arguments.out} ({len(h)} images, {h.shape[1]} features, {len(images.classes)} classes)")


if __name__ == "__main__":
    run(main)
