"""Features of images by a frozen backbone, by one process or several, into one file."""

from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from analysis.extraction import feature_file
from analysis.extraction.choice import choose
from analysis.extraction.images import Prepared, RandomViews, open_images
from analysis.extraction.options import ImageOptions
from pretrain import backbones
from pretrain.data import views
from pretrain.data.datasets import begin_worker
from runtime import distributed
from runtime.command_line import UserError
from runtime.cores import AUTO_WORKERS, loader_workers
from runtime.progress import Progress
from runtime.provenance import commit
from transfer.backbones import RANDOM, USUAL, with_features
from transfer.backbones.frozen import Backbone, check_side, load, measure_statistics
from transfer.classification.crops import CentreCrop

BATCH = 64
"""Images of a rank at a time."""


@torch.inference_mode()
def extract(
    network: nn.Module, images: Prepared, *, normalise, device: torch.device, workers: int, half: bool, quiet=False
):
    """Features (n, d) of the images and (n, V, d) of their views (None without), in order, on the CPU of rank 0.

    Every rank takes an equal share of each batch; the last one is filled up by repeating its last image.
    """
    world, n = distributed.world_size(), len(images)
    batch = BATCH * world
    steps = -(-n // batch)
    share = [min(step * batch + distributed.rank() * BATCH + i, n - 1) for step in range(steps) for i in range(BATCH)]
    workers = loader_workers(workers, device.type)
    loader = DataLoader(Subset(images, share), batch_size=BATCH, num_workers=workers, worker_init_fn=begin_worker)
    progress = Progress(n, "features", quiet=quiet or not distributed.is_main())
    mixed = torch.autocast("cuda", torch.float16) if half and device.type == "cuda" else nullcontext()
    dtype, parts = torch.float16 if half else torch.float32, ([], [])
    for done, (crops, drawn, faults) in enumerate(loader, start=1):
        if unreadable := list(dict.fromkeys(filter(None, faults))):
            raise UserError.of(unreadable)
        wanted = [crops] if drawn.shape[1] == 0 else [crops, drawn.flatten(0, 1)]
        for rows, pixels in zip(parts, wanted, strict=False):
            with mixed:
                inputs = normalise(pixels.to(device))
                h = network(inputs).float()
            rows.append(distributed.gather(h.unflatten(0, (len(crops), -1))).to("cpu", dtype))
        progress.update(min(done * batch, n))
    h = torch.cat(parts[0])[:n, 0]
    return h, torch.cat(parts[1])[:n] if parts[1] else None


def random_views(backbone: Backbone, *, size: int, count: int, seed: int) -> RandomViews:
    """``count`` random views by the recipe the network was trained with, at ``size`` pixels."""
    stored = backbone.views
    same = {key: stored[key] for key in ("recipe", "min_scale", "interpolation") if key in stored}
    recipe = views.ViewsConfig(size=size, **same)
    return RandomViews(views.Augment(views.random_views(recipe)), count, seed)


def refuse_other_features(out: Path, about: dict) -> None:
    """Raise UserError if the features in ``out`` come from other weights, images or settings than ``about`` says."""
    # Files from before there was a choice name neither the network nor what made the crops.
    there = {"backbone": backbones.USUAL, **feature_file.read(out).about}
    there["settings"] = {"crops": "torchvision", **there["settings"]}
    if differing := [key for key, value in about.items() if there.get(key) != value]:
        raise UserError(f"{out} holds other features ({', '.join(differing)}); choose another --out")


def write_features(
    weights: str,
    options: ImageOptions,
    out: Path,
    *,
    layer: str = "backbone",
    benchmark: str | None = None,
    limit_per_class: int | None = None,
    views: int = 0,
    half: bool = False,
    workers: int = AUTO_WORKERS,
    device: str = "auto",
    seed: int = 0,
    sample_seed: int = 0,
    kind: str = USUAL,
    network: str = backbones.USUAL,
) -> None:
    """Extract the features of ``options``' images into ``out``; at once where the same features are there already.

    Args:
        benchmark: name of the data set in tables; by default the folder's or CIFAR's.
        limit_per_class: at most so many images of a class, drawn by ``sample_seed``.
        views: random views of each image besides.
        half: store float16, and compute in it on a GPU.
        seed, network: of the untrained network, for ``weights`` random.
        kind: which features of the network's family.

    Raises UserError if ``out`` holds other features.
    """
    images = open_images(options.data, options.format, split=options.split, labels=options.labels)
    chosen = choose(images.labels, limit_per_class or len(images.labels), sample_seed)
    labels, names = [images.labels[i] for i in chosen], [images.names[i] for i in chosen]
    backbone = load(weights, layer, unfinished=True, features=kind, seed=seed, name=network, side=options.size)
    check_side(backbone, options.size)
    layer = with_features(layer, kind)
    about = {**backbone.about, "seed": backbone.seed, "step": backbone.step, "layer": layer, "classes": images.classes}
    about["benchmark"] = benchmark or options.default_benchmark
    about["settings"] = {
        **options.settings,
        "limit_per_class": limit_per_class,
        "sample_seed": sample_seed,
        "views": views,
        "half": half,
    }
    if out.exists():
        refuse_other_features(out, {**about, "images_sha256": feature_file.images_sha256(names, labels)})
        print(f"done already: {out}")
        return
    on = distributed.init(device)
    augment = random_views(backbone, size=options.size, count=views, seed=sample_seed) if views else None
    prepared = Prepared(images, chosen, CentreCrop(**options.crop), augment=augment)
    model = backbone.network.to(on, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if weights == RANDOM:
        measure_statistics(model, prepared, seed=seed, device=on, prepare=backbone.inputs)
    h, drawn = extract(model, prepared, normalise=backbone.inputs, device=on, workers=workers, half=half)
    if distributed.is_main():
        feature_file.refuse_bad_rows(h, names, where=weights)
        about |= {"commit": commit()}
        feature_file.write(out, h, labels=labels, names=names, views=drawn, about=about)
        print(f"features: {out} ({len(h)} images, {h.shape[1]} features, {len(images.classes)} classes)")
