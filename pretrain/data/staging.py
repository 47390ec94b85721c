"""Copies of packed images on the nodes' own disks, made once a node, before a run reads them."""

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from pretrain.data import shards
from pretrain.data.image_index import FILE
from pretrain.data.shards import HASH_BYTES, MIB, REMEDY, SPARE, Places, has_size, shard_name
from runtime import folder_lock
from runtime.command_line import UserError
from runtime.files import replacing
from runtime.progress import Progress


def staged(root: Path, stage: str) -> Path:
    """The folder below ``stage`` with a whole copy of the pack ``root``, made by this process if nobody else does.

    Every process of a node calls this: the first one copies, the others wait for it, and one takes the copy up if it
    dies. The name of the folder has the checksum of the pack's index, so that a copy of another pack is never read.
    An image that is damaged later is noticed when it is read. Variables like ``$TMPDIR`` are those of the node.

    Raises UserError where there is no space, for a folder that cannot be written, and for a damaged shard of ``root``.
    """
    _, places, checksum = shards.read_index(root)
    folder = _stage_folder(stage) / f"{root.resolve().name}-{checksum[:16]}"
    with folder_lock.locked(folder, wait=True):
        folder_lock.sweep(folder)
        if not _is_whole(folder, checksum):
            _copy(root, folder, places)
    return folder


def _stage_folder(stage: str) -> Path:
    folder = Path(os.path.expandvars(stage)).expanduser()
    if "$" in str(folder):
        raise UserError(f"data.stage={stage} names a variable that is not set on {socket.gethostname()}; set it there")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"data.stage={folder} cannot be made on {socket.gethostname()}: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"data.stage={folder} cannot be written on {socket.gethostname()}; give another folder")
    return folder


def _is_whole(folder: Path, checksum: str) -> bool:
    try:
        return shards.check(folder) == checksum
    except UserError:
        return False


def _copy(root: Path, folder: Path, places: Places) -> None:
    """Copy the shards that are not there whole, and then the index: what has one is complete."""
    sizes = places.shard_size.tolist()
    missing = [n for n, size in enumerate(sizes) if not has_size(folder / shard_name(n), size)]
    needed, free = sum(sizes[n] for n in missing) + (root / FILE).stat().st_size, shutil.disk_usage(folder).free
    if free < needed + SPARE:
        others = sorted(path.parent.name for path in folder.parent.glob(f"*/{FILE}") if path.parent != folder)
        more = f"; copies of other packs are there: {', '.join(others)}" if others else ""
        raise UserError(
            f"{folder.parent} on {socket.gethostname()} has {free // MIB:,} MiB free, the copy of {root} needs "
            f"{needed // MIB + 1:,} more; make room there, or leave out data.stage{more}"
        )
    done = sum(sizes) - sum(sizes[n] for n in missing)
    progress = Progress(sum(sizes) // MIB + 1, f"stage on {socket.gethostname()}, MiB", start=done // MIB)
    for number in missing:
        digest = hashlib.sha256()
        source = root / shard_name(number)
        with replacing(folder / source.name) as temporary, temporary.open("wb") as target:
            for block in _blocks(source):
                target.write(block)
                digest.update(block)
                done += len(block)
                progress.update(done // MIB)
            if digest.digest() != places.shard_sha256[number * HASH_BYTES : (number + 1) * HASH_BYTES].tobytes():
                raise UserError(f"{source} is damaged (another checksum); pretrain/pack.py --check {root} says where")
    with replacing(folder / FILE) as temporary:
        shutil.copyfile(root / FILE, temporary)
    progress.update(progress.total)


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(8 * MIB):
                yield block
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; {REMEDY}") from error
