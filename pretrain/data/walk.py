"""Which files of a folder are images: walked once, in sorted order, for pretraining, probes and features alike."""

import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from runtime.command_line import UserError, printable

SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".bmp",
    ".gif",
    ".webp",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".tif",
    ".tiff",
)
"""Names of image files: torchvision's, and what else `pretrain.data.decode` reads; in any case."""

NO_LABEL = -1


def image_paths(root: str | Path) -> list[Path]:
    """The image files below ``root``, sorted by path. Links are followed; every real folder is walked once.

    Left out: hidden files and folders (``.ipynb_checkpoints``, ``._x.jpg`` of macOS; counted on stderr where they look
    like images). Raises UserError if there is no such folder or no image in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"no folder of images at {root}; give an existing one")
    found, hidden = [], 0
    for path, is_hidden in _walk(root):
        hidden += is_hidden
        if not is_hidden:
            found.append(path)
    if not found:
        raise UserError(f"no image below {root} (looked for {' '.join(SUFFIXES)}); check the path")
    if hidden:
        print(f"{printable(root)}: {hidden} hidden files named like images are left out", file=sys.stderr)
    return sorted(found)


def _walk(root: Path) -> Iterator[tuple[Path, bool]]:
    """Every file named like an image, and whether it is hidden; a folder that was walked already is not walked again.

    Real folders come before links to folders, so that an image has the name of its own place.
    """
    seen: set[tuple[int, int]] = set()
    folders, links = [(root, False)], []
    while folders or links:
        folder, is_hidden = folders.pop() if folders else links.pop()
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            raise UserError(f"{folder} cannot be read: {error.strerror}; make it readable, or move it away") from error
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            path, hides = folder / entry.name, is_hidden or entry.name.startswith(".")
            if entry.is_dir(follow_symlinks=False):
                folders.append((path, hides))
            elif entry.is_symlink() and entry.is_dir():
                links.append((path, hides))
            elif path.suffix.lower() in SUFFIXES:
                yield path, hides


def labelled_paths(root: str | Path) -> tuple[list[Path], list[str], list[int]]:
    """The images below ``root``, their classes and the class number of each.

    The folders right below the root are the classes, as in ImageNet; a root that holds images itself has none, and
    every number is NO_LABEL. Raises UserError as `image_paths` does.
    """
    root = Path(root)
    paths, depth = image_paths(root), len(root.parts)
    folders = [path.parts[depth] if len(path.parts) > depth + 1 else None for path in paths]
    if None in folders:
        return paths, [], [NO_LABEL] * len(paths)
    classes = sorted({folder for folder in folders if folder is not None})
    number = {name: index for index, name in enumerate(classes)}
    return paths, classes, [number[folder] for folder in folders if folder is not None]


def check_class_folders(root: str | Path, classes: Collection[str]) -> None:
    """Raise UserError naming the folders right below ``root`` that are no class, because no image was found in them."""
    empty = sorted(
        entry.name
        for entry in Path(root).iterdir()
        if entry.is_dir() and entry.name[0] != "." and entry.name not in classes and not _leads_back(entry, Path(root))
    )
    if empty:
        raise UserError(
            f"{root}: {len(empty)} folders hold no image ({', '.join(empty[:5])}; looked for {' '.join(SUFFIXES)}); "
            "move them away, or add their images"
        )


def _leads_back(entry: Path, root: Path) -> bool:
    """Whether ``entry`` is a link to the root, to a folder above it, or to another folder in it."""
    target, home = entry.resolve(), root.resolve()
    return entry.is_symlink() and (target in (home, *home.parents) or home in target.parents)
