"""How a tree becomes shards: one whole tar file after another, each with its places beside it, then the index."""

import hashlib
import os
import shutil
import stat
import sys
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pretrain.data import mapped_arrays, shards
from pretrain.data.image_index import FILE, ImageIndex
from pretrain.data.shards import FORMAT, MIB, RECORD, REMEDY, SPARE, Places, Shards, has_size, shard_name
from pretrain.data.walk import image_index
from runtime import folder_lock, run_guard
from runtime.command_line import Faults, UserError
from runtime.files import replacing
from runtime.progress import Progress

BLOCK = tarfile.BLOCKSIZE
READERS, AHEAD = 8, 64
"""Threads that read files, and how many files they are ahead: on a disk of a network, each waits for its server."""


@dataclass(frozen=True)
class Source:
    """The images of a tree as they were when they were listed."""

    root: Path
    index: ImageIndex
    sizes: np.ndarray
    """(n,) bytes, int64."""
    times: np.ndarray
    """(n,) nanoseconds, of the last change, int64."""
    shard_bytes: int

    @classmethod
    def of(cls, root: Path, shard_bytes: int) -> "Source":
        """Raises UserError for a tree without images, for a pack, and naming the files that cannot be read."""
        if shards.is_packed(root):
            raise UserError(f"{root} is packed already; read it with data.root={root}")
        index = image_index(root)
        found, faults = np.empty((len(index), 2), np.int64), []
        for number in range(len(index)):
            path = os.path.join(root, index.name(number))
            try:
                status = os.stat(path)
            except OSError as error:
                faults.append(f"{path} cannot be read: {error.strerror}; repair or remove it")
                continue
            if not stat.S_ISREG(status.st_mode):
                faults.append(f"{path} is no file; remove it")
            found[number] = status.st_size, status.st_mtime_ns
        if faults:
            raise UserError.of(faults)
        return cls(root, index, found[:, 0], found[:, 1], shard_bytes)

    @property
    def record(self) -> dict:
        """What decides the bytes of a pack, but for the content of the files."""
        return {"format": FORMAT, **self.index.identity, "shard_bytes": self.shard_bytes}

    @cached_property
    def plan(self) -> list[range]:
        """The images of each shard: as many as fit, at least one."""
        ranges, first, weight = [], 0, 0
        for index, size in enumerate(self.sizes.tolist()):
            if index > first and weight + size + BLOCK > self.shard_bytes:
                ranges.append(range(first, index))
                first, weight = index, 0
            weight += size + BLOCK
        return [*ranges, range(first, len(self.sizes))]

    def weight(self, images: range) -> int:
        """Bytes of their files."""
        return int(self.sizes[images.start : images.stop].sum())

    def sha256(self, images: range) -> np.ndarray:
        """(HASH_BYTES,) of names, sizes and times: the same while no file was touched."""
        digest = hashlib.sha256()
        for i in images:
            digest.update(os.fsencode(f"{self.index.name(i)}\0{self.sizes[i]} {self.times[i]}\0"))
        return np.frombuffer(digest.digest(), np.uint8)

    def contents(self, images: range) -> Iterator[tuple[int, bytes]]:
        """(number, bytes) of the images in order, read ahead by several threads.

        Raises UserError for a file that changed since it was listed.
        """
        pending: deque[tuple[int, Future[bytes]]] = deque()
        with ThreadPoolExecutor(READERS) as pool:
            try:
                for i in images:
                    pending.append((i, pool.submit(self._content, i)))
                    if len(pending) > AHEAD:
                        number, content = pending.popleft()
                        yield number, content.result()
                for number, content in pending:
                    yield number, content.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _content(self, number: int) -> bytes:
        path = os.path.join(self.root, self.index.name(number))
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path for each image costs more
                content, status = file.read(), os.fstat(file.fileno())
        except OSError as error:
            raise UserError(
                f"{path} cannot be read: {error.strerror}; repair it, then give the same command"
            ) from error
        if (len(content), status.st_size, status.st_mtime_ns) != (self.sizes[number],) * 2 + (self.times[number],):
            raise UserError(f"{path} changed while it was packed; when it is left alone, give the same command again")
        return content


def pack(root: Path, out: Path, *, shard_bytes: int) -> None:
    """Make (or go on making) the shards of the tree ``root`` in ``out``.

    Raises UserError for a tree without images or with files that cannot be read, for a folder that holds anything
    else, where there is no space, and for a pack whose tree has changed since.
    """
    source = Source.of(root, shard_bytes)
    with folder_lock.locked(out):
        _check_folder(out, source.record)
        folder_lock.sweep(out)
        run_guard.write(out, source.record, file=RECORD)
        parts = _known(out, source)
        if None in parts or not (out / FILE).exists():
            _write_missing(source, out, parts)
        wanted = {shard_name(number) for number in range(len(source.plan))}
        for path in [*out.glob("shard-*.part"), *out.glob("shard-*.tar")]:
            if path.name not in wanted:  # of larger files, which a pack that was interrupted began with
                path.unlink()
    print(f"packed: {out} ({len(source.index)} images in {len(source.plan)} shards); read it with data.root={out}")


def verify(out: Path) -> None:
    """Read every byte of a pack. Raises UserError naming the first image of each damaged shard."""
    if not shards.is_packed(out):
        raise UserError(f"{out} is no pack (no {RECORD}); give the OUT of pretrain/pack.py")
    shards.check(out)
    opened, faults, done = Shards(out), Faults(), 0
    progress = Progress(int(opened.places.shard_size.sum()) // MIB + 1, "check, MiB")
    for number in range(opened.places.shards):
        places, path = opened.places.of_shard(number), out / shard_name(number)
        first = int(opened.ends[number] - places.count[0])
        with faults.collected():
            _check_shard(path, places, lambda i, path=path, first=first: f"{path}: {opened.index.name(first + i)}")
        done += int(places.shard_size[0])
        progress.update(done // MIB)
    progress.update(progress.total)
    faults.check()
    print(f"checked: {out} ({len(opened.index)} images in {opened.places.shards} shards)")


def _check_folder(out: Path, record: dict) -> None:
    """Raise UserError if ``out`` holds another pack, or anything else."""
    there = run_guard.read(out, RECORD)
    if there and there != record:
        other = [
            f"{key} {str(there.get(key))[:16]}, not {str(value)[:16]}"
            for key, value in record.items()
            if there.get(key) != value
        ]
        raise UserError(
            f"{out} is the pack of another tree or of other settings ({'; '.join(other)}); give another OUT"
        )
    if not there and (foreign := run_guard.foreign(out)):
        raise UserError(f"{out} is not empty and no pack (it holds {foreign}); give another OUT")


def _known(out: Path, source: Source) -> list[Places | None]:
    """Of each shard what is known of it; None for one that is to be written.

    Raises UserError for a pack that is complete, but of files that have changed since.
    """
    index, whole = out / FILE, None
    if index.exists():
        try:
            whole, _, _ = shards.read_places(index, check=True)
        except UserError as fault:
            print(f"{fault}: all is packed again", file=sys.stderr)
    parts: list[Places | None] = []
    for number, images in enumerate(source.plan):
        try:
            part = whole.of_shard(number) if whole else shards.read_places(_part(out, number), check=True)[0]
            same = np.array_equal(part.source_sha256, source.sha256(images))
        except (UserError, IndexError):
            parts.append(None)
            continue
        path = out / shard_name(number)
        if whole and not same:
            raise UserError(f"files of {source.root} in {path} changed since they were packed; give another OUT")
        parts.append(part if same and has_size(path, int(part.shard_size[0])) else None)
    return parts


def _part(out: Path, number: int) -> Path:
    """What is known of a finished shard, while there is no index."""
    return out / f"shard-{number:05d}.part"


def _write_missing(source: Source, out: Path, parts: list[Places | None]) -> None:
    """Write the shards of which nothing is known, then the index."""
    missing = [number for number, part in enumerate(parts) if part is None]
    weights = [source.weight(images) for images in source.plan]
    names = np.diff(source.index.ends, prepend=0)
    blocks = 2 * len(names) + 3 * int((names >= tarfile.LENGTH_NAME).sum())  # headers and padding, at most
    needed = sum(weights[number] for number in missing) + blocks * BLOCK
    if (free := shutil.disk_usage(out).free) < needed + SPARE:
        raise UserError(
            f"{out} has {free // MIB:,} MiB free, the shards need {needed // MIB + 1:,} more; make room there"
        )
    done = sum(weights) - sum(weights[number] for number in missing)
    progress = Progress(sum(weights) // MIB + 1, "pack, MiB", start=done // MIB)
    for number in missing:
        parts[number] = _write_shard(source, out, number, lambda n, done=done: progress.update((done + n) // MIB))
        done += weights[number]
    progress.update(progress.total)
    columns = [part.arrays() for part in parts if part]
    places = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    mapped_arrays.write(out / FILE, source.index.arrays() | places, source.index.about() | {"format": FORMAT})


def _write_shard(source: Source, out: Path, number: int, tell: Callable[[int], None]) -> Places:
    """Write one shard, read it again, and note its places: the shard first, so that what has a note is whole."""
    rows, images = [], source.plan[number]
    path, done = out / shard_name(number), 0
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            writer = _Hashing(file)
            for i, content in source.contents(images):
                header = tarfile.TarInfo(source.index.name(i))  # no owner and no time: the same bytes wherever
                header.size, header.mode = len(content), 0o644
                writer.write(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
                rows.append((writer.count, len(content), zlib.crc32(content)))
                writer.write(content + b"\0" * (-len(content) % BLOCK))
                done += len(content)
                tell(done)
            writer.write(b"\0" * (2 * BLOCK))
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # what is compared comes from the disk
        offset, size, crc = zip(*rows, strict=True)
        places = Places(
            offset=np.array(offset, np.int64),
            size=np.array(size, np.int64),
            crc=np.array(crc, np.uint32),
            count=np.array([len(rows)], np.int64),
            shard_size=np.array([writer.count], np.int64),
            shard_sha256=np.frombuffer(writer.digest.digest(), np.uint8),
            source_sha256=source.sha256(images),
        )
        _check_shard(temporary, places, lambda i: f"{path}: {source.index.name(images.start + i)}")
    mapped_arrays.write(_part(out, number), places.arrays(), {})
    return places


class _Hashing:
    """A file that knows how much was written, and its SHA-256."""

    def __init__(self, file: BinaryIO):
        self.file, self.count, self.digest = file, 0, hashlib.sha256()

    def write(self, content: bytes) -> None:
        self.file.write(content)
        self.count += len(content)
        self.digest.update(content)


def _check_shard(path: Path, places: Places, member: Callable[[int], str]) -> None:
    """Raise UserError if a byte of a shard is not as it was packed; ``member`` names its i-th image."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for i, (offset, size, crc) in enumerate(zip(places.offset, places.size, places.crc, strict=True)):
            digest.update(file.read(int(offset) - file.tell()))
            content = file.read(int(size))
            digest.update(content)
            if zlib.crc32(content) != int(crc):
                raise UserError(f"{member(i)} is damaged (another checksum); {REMEDY}")
        digest.update(file.read())
    if digest.digest() != places.shard_sha256.tobytes():
        raise UserError(f"{path} is damaged between its images (another checksum); {REMEDY}")
