"""Which files of a folder are images: walked once, in sorted order, for pretraining, probes and features alike."""

import os
import sys
from collections.abc import Collection
from pathlib import Path

from pretrain.data.image_index import ImageIndex
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
_SUFFIXES = frozenset(SUFFIXES)


def image_names(root: str | Path) -> list[str]:
    """The image files below ``root``, relative to it, sorted folder by folder. Links are followed; every real folder is
    walked once.

    Left out: hidden files and folders (``.ipynb_checkpoints``, ``._x.jpg`` of macOS; counted on stderr where they look
    like images). Raises UserError if there is no such folder or no image in it.
    """
    if not Path(root).is_dir():
        raise UserError(f"no folder of images at {root}; give an existing one")
    found: list[str] = []
    hidden = _walk(os.fspath(root), found)
    if not found:
        raise UserError(f"no image below {root} (looked for {' '.join(SUFFIXES)}); check the path")
    if hidden:
        print(f"{printable(root)}: {hidden} hidden files named like images are left out", file=sys.stderr)
    found.sort(key=lambda name: name.replace("/", "\0"))  # as paths are sorted: a/b before a-b
    return found


def image_paths(root: str | Path) -> list[Path]:
    """The same as paths."""
    return [Path(root, name) for name in image_names(root)]


def image_index(root: str | Path) -> ImageIndex:
    """The same as an index, with the classes: the folders right below the root, as in ImageNet.

    A root that holds images itself has none. A folder without an image is named on stderr.
    """
    index = ImageIndex.of(image_names(root))
    if index.classes:
        try:
            check_class_folders(root, index.classes)
        except UserError as fault:  # who learns from labels counts the classes
            print(f"warning: {fault}", file=sys.stderr)
    return index


def _walk(root: str, found: list[str]) -> int:
    """Append every file named like an image to ``found``; returns how many hidden ones were left out.

    A folder that was walked already is not walked again. Real folders come before links to folders, so that an image
    has the name of its own place. Strings throughout: a path costs ten times as much.
    """
    seen: set[tuple[int, int]] = set()
    folders, links, hidden = [("", False)], [], 0
    while folders or links:
        prefix, is_hidden = folders.pop() if folders else links.pop()
        folder = os.path.join(root, prefix[:-1]) if prefix else root
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            with os.scandir(folder) as listing:
                entries = list(listing)
        except OSError as error:
            raise UserError(f"{folder} cannot be read: {error.strerror}; make it readable, or move it away") from error
        seen.add((status.st_dev, status.st_ino))
        below, linked = [], []
        for entry in entries:
            name = entry.name
            hides = is_hidden or name[0] == "."
            if entry.is_dir(follow_symlinks=False):
                below.append((f"{prefix}{name}/", hides))
            elif entry.is_symlink() and entry.is_dir():
                linked.append((f"{prefix}{name}/", hides))
            elif name[name.rfind(".") :].lower() in _SUFFIXES and name.rfind("."):
                if hides:
                    hidden += 1
                else:
                    found.append(prefix + name)
        folders += sorted(below, reverse=True)
        links += sorted(linked, reverse=True)
    return hidden


def check_class_folders(root: str | Path, classes: Collection[str]) -> None:
    """Raise UserError naming the folders right below ``root`` that are no class, because no image was found in them."""
    known = set(classes)
    empty = sorted(
        entry.name
        for entry in Path(root).iterdir()
        if entry.name not in known and entry.name[0] != "." and entry.is_dir() and not _leads_back(entry, Path(root))
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
