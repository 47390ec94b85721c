"""Images in plain tar files, read at random by their places: what `pretrain/pack.py` makes of a tree.

    OUT/pack.json              what was packed; a folder that has it is no tree of images
    OUT/shard-00000.tar ...    `tar tf` lists them
    OUT/images.safetensors     names and classes in the order of the tree, where each image lies, and checksums

An image is one ``pread``, compared with its CRC-32. The order and the names are those of the tree, so that a run may
go from files to shards and back.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pretrain.data import mapped_arrays
from pretrain.data.decode import UnreadableImage
from pretrain.data.image_index import FILE, ImageIndex
from runtime.command_line import UserError

RECORD = "pack.json"

FORMAT = "image shards 1"

REMEDY = "remove it and give the command of pretrain/pack.py again, or copy it anew"

HASH_BYTES = 32

MIB = 1 << 20

SPARE = 16 * MIB
"""Bytes that are left free on a disk."""

MOST_OPEN = 512
"""Shards that a process keeps open; a further one is opened for each image."""


class DamagedShard(UnreadableImage):
    """An image whose bytes are not those that were packed. A run stops there: its data is not what it began with."""


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:05d}.tar"


def has_size(path: Path, size: int) -> bool:
    """Whether there is a file of so many bytes."""
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False


def is_packed(root: Path) -> bool:
    """Whether a folder is a pack, complete or not, and no tree of images."""
    return (root / RECORD).is_file()


@dataclass(frozen=True)
class Places:
    """Where n images lie in s shards, and what tells damage."""

    offset: np.ndarray
    """(n,) of the first byte in its shard, int64."""
    size: np.ndarray
    """(n,) bytes, int64."""
    crc: np.ndarray
    """(n,) CRC-32 of the bytes, uint32."""
    count: np.ndarray
    """(s,) images of each shard, int64."""
    shard_size: np.ndarray
    """(s,) bytes, int64."""
    shard_sha256: np.ndarray
    """(s * HASH_BYTES,) uint8."""
    source_sha256: np.ndarray
    """(s * HASH_BYTES,) of names, sizes and times of the files in each shard, uint8."""

    def arrays(self) -> dict[str, np.ndarray]:
        return dict(vars(self))

    @property
    def shards(self) -> int:
        return len(self.count)

    def of_shard(self, number: int) -> "Places":
        """Those of one shard alone."""
        end = int(self.count[: number + 1].sum())
        images = slice(end - int(self.count[number]), end)
        hashes = slice(number * HASH_BYTES, (number + 1) * HASH_BYTES)
        one = slice(number, number + 1)
        return Places(
            *(array[images] for array in (self.offset, self.size, self.crc)),
            *(array[one] for array in (self.count, self.shard_size)),
            *(array[hashes] for array in (self.shard_sha256, self.source_sha256)),
        )


def read_places(path: Path, *, check: bool = False) -> tuple[Places, dict[str, np.ndarray], dict[str, str]]:
    """The places in a file, and all it holds. Raises UserError as `mapped_arrays.read` does, and for another file."""
    arrays, about = mapped_arrays.read(path, check=check)
    try:
        places = Places(**{name: arrays[name] for name in Places.__dataclass_fields__})
        if not _is_whole(places):
            raise ValueError
    except (LookupError, ValueError) as error:
        raise UserError(f"{path} is no index of shards; {REMEDY}") from error
    return places, arrays, about


def _is_whole(places: Places) -> bool:
    """Whether the arrays belong together, and every image lies inside its shard."""
    n, s = len(places.offset), places.shards
    if [len(array) for array in vars(places).values()] != [n, n, n, s, s, s * HASH_BYTES, s * HASH_BYTES] or not n:
        return False
    if [array.dtype.str for array in vars(places).values()] != ["<i8", "<i8", "<u4", "<i8", "<i8", "|u1", "|u1"]:
        return False
    if min(array.min() for array in (places.offset, places.size, places.count)) < 0 or places.count.sum() != n:
        return False
    return bool((places.size <= np.repeat(places.shard_size, places.count) - places.offset).all())


def read_index(root: Path, *, check: bool = False) -> tuple[ImageIndex, Places, str]:
    """Index, places and checksum of a pack. Raises UserError for one that is incomplete or damaged.

    Args:
        check: read all of the index, and compare with its checksum.
    """
    path = root / FILE
    if not path.exists():
        raise UserError(f"{root} is not packed to the end (no {FILE}); give the command of pretrain/pack.py again")
    places, arrays, about = read_places(path, check=check)
    try:
        index = ImageIndex.from_arrays(arrays, about)
        if check and index.identity != ImageIndex(index.names, index.ends, index.labels, index.classes).identity:
            raise ValueError("the identity of other images")
        return index, places, about["checksum"]
    except (LookupError, ValueError) as error:
        raise UserError(f"{path} is no index of shards; {REMEDY}") from error


def check(root: Path) -> str:
    """The checksum of a pack's index, after a look at the index and at the size of every shard.

    Raises UserError naming the index if it is missing or damaged, or the first shard that is not of its size.
    """
    _, places, checksum = read_index(root, check=True)
    for number, size in enumerate(places.shard_size.tolist()):
        path = root / shard_name(number)
        try:
            found = path.stat().st_size
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}; {REMEDY}") from error
        if found != size:
            raise UserError(f"{path} has {found} bytes, its index says {size}; {REMEDY}")
    return checksum


class Shards:
    """The images of a pack by their number. Each process opens a shard when it first reads from it."""

    def __init__(self, root: Path):
        self.root = root
        self.index, self.places, self.checksum = read_index(root)
        self.ends = np.cumsum(self.places.count)
        self.files: dict[int, int] = {}

    def __getstate__(self) -> dict:
        return {"root": self.root}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["root"])

    def __del__(self) -> None:
        for file in getattr(self, "files", {}).values():
            os.close(file)

    def member(self, index: int) -> str:
        """Shard and name of an image, for messages."""
        return f"{self.root / shard_name(self._shard(index))}: {self.index.name(index)}"

    def read(self, index: int) -> bytes:
        """The bytes of an image's file. Raises DamagedShard where they are not those that were packed."""
        try:
            content = self._read(self._shard(index), int(self.places.offset[index]), int(self.places.size[index]))
        except OSError as error:
            raise DamagedShard(f"{self.member(index)} cannot be read ({error.strerror}); {REMEDY}") from error
        if zlib.crc32(content) != int(self.places.crc[index]):
            raise DamagedShard(f"{self.member(index)} is damaged (another checksum); {REMEDY}")
        return content

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self.ends, index, side="right"))

    def _read(self, number: int, offset: int, size: int) -> bytes:
        if number in self.files:
            return os.pread(self.files[number], size, offset)
        file = os.open(self.root / shard_name(number), os.O_RDONLY)
        if len(self.files) < MOST_OPEN:
            self.files[number] = file
            return os.pread(file, size, offset)
        try:
            return os.pread(file, size, offset)
        finally:
            os.close(file)
