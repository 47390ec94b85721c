"""Which images keep their label in semi-supervised fine-tuning: a published list, or a stratified draw."""

import hashlib
from pathlib import Path

import numpy as np

from runtime.command_line import UserError
from runtime.files import replacing
from runtime.read import read_text
from transfer.classification.labelled_images import Images, encoded


def hold_out(images: Images, *, percent: float, seed: int) -> tuple[Images, Images]:
    """The images in two parts: the second has ``percent`` of every class, at least one image of each, drawn by (seed,
    class). Raises UserError for a class of one image.
    """
    counts = np.bincount(images.labels, minlength=len(images.classes))
    if (counts < 2).any():
        name = images.classes[int(counts.argmin())]
        raise UserError(f"{images.where}: class {name!r} has one image; to hold out a part of each, two are needed")
    held = set(_drawn(images, percent=percent, seed=seed, at_least=1))
    kept = [index for index in range(len(images)) if index not in held]
    return images.subset(kept), images.subset(sorted(held))


def draw(images: Images, *, percent: float, seed: int) -> list[int]:
    """``percent`` of every class, rounded, drawn by (seed, class): the indices, sorted.

    A class's draw is the head of one permutation, so a smaller fraction lies within a larger one. Raises UserError
    where a class would be left without an image.
    """
    chosen = _drawn(images, percent=percent, seed=seed, at_least=0)
    if empty := sorted(set(range(len(images.classes))) - {images.labels[index] for index in chosen}):
        count, name = images.labels.count(empty[0]), images.classes[empty[0]]
        raise UserError(
            f"{percent:g} percent of the {count} images of class {name!r} is not one image; "
            f"take a larger --fraction or give a --list"
        )
    return chosen


def _drawn(images: Images, *, percent: float, seed: int, at_least: int) -> list[int]:
    labels, chosen = np.array(images.labels), []
    for label in range(len(images.classes)):
        members = np.flatnonzero(labels == label)
        count = max(at_least, int(len(members) * percent / 100 + 0.5))
        chosen += np.random.default_rng([seed, label]).permutation(members)[:count].tolist()
    return sorted(chosen)


def listed(images: Images, path: str | Path, *, percent: float) -> list[int]:
    """The images named by a list, one file name per line, with or without its class folder: the indices, sorted.

    Raises UserError for names that are not there, that fit several images or stand there twice, for a class without
    an image, and for a list whose share of the images is far from ``percent``.
    """
    text = read_text(path, remedy="give --list a text file with one image name per line", errors="surrogateescape")
    names = [line.strip() for line in text.split("\n") if line.strip()]
    full = {name: index for index, name in enumerate(images.names)}
    short: dict[str, list[int]] = {}
    for name, index in full.items():
        short.setdefault(name.rpartition("/")[2], []).append(index)
    places = [[full[name]] if name in full else short.get(name, []) for name in names]
    if missing := [name for name, place in zip(names, places, strict=True) if not place]:
        raise UserError(
            f"--list {path}: {len(missing)} of {len(names)} images not in {images.where}, first {missing[0]}"
        )
    if vague := [name for name, place in zip(names, places, strict=True) if len(place) > 1]:
        raise UserError(f"--list {path}: {vague[0]} is the name of several images of {images.where}; write CLASS/FILE")
    chosen = sorted(index for [index] in places)
    if len(set(chosen)) < len(chosen):
        raise UserError(f"--list {path} names an image twice; each may stand there once")
    if empty := sorted(set(range(len(images.classes))) - {images.labels[index] for index in chosen}):
        raise UserError(f"--list {path} leaves class {images.classes[empty[0]]!r} without an image")
    share = 100 * len(chosen) / len(images)
    if not percent / 2 <= share <= percent * 2:
        raise UserError(f"--list {path} holds {share:.3g} percent of the images, --fraction says {percent:g}")
    return chosen


def write(images: Images, path: str | Path) -> None:
    """Write the list of the images: what `listed` reads."""
    with replacing(path) as temporary:
        temporary.write_bytes(encoded("".join(f"{name}\n" for name in images.names)))


def fingerprint(images: Images) -> str:
    """SHA-256 of the sorted list, the same for a drawn subset and for its list given back."""
    return hashlib.sha256(encoded("".join(sorted(f"{name}\n" for name in images.names)))).hexdigest()
