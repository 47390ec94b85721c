"""COCO results in a tenth of the memory that as many dictionaries take."""

import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

IDS, BOX, MASK, POINTS = ("image_id", "category_id"), "bbox", "segmentation", "keypoints"

LARGEST_ID = 2**63 - 1

BLOCK = 1 << 18
"""Bytes of run lengths that are packed together."""


class PackedTexts:
    """A list of short texts, deflated block by block. Fast where they are asked for in order."""

    def __init__(self):
        self._blocks: list[bytes] = []
        self._first = [0]  # number of the first text of each block, that of the open one last
        self._ends = array("I")  # of every text in its block
        self._open = bytearray()
        self._inflated: tuple[int, bytes] = (-1, b"")

    def append(self, text: bytes) -> None:
        self._open += text
        self._ends.append(len(self._open))
        if len(self._open) >= BLOCK:
            self._close()

    def extend(self, others: "PackedTexts") -> None:
        self._close()
        others._close()
        self._first += [len(self) + first for first in others._first[1:]]
        self._blocks += others._blocks
        self._ends.extend(others._ends)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> bytes:
        block = bisect_right(self._first, number) - 1
        if block != self._inflated[0] and block < len(self._blocks):
            self._inflated = block, zlib.decompress(self._blocks[block])
        texts = self._inflated[1] if block < len(self._blocks) else self._open
        begin = self._ends[number - 1] if number > self._first[block] else 0
        return bytes(texts[begin : self._ends[number]])

    def _close(self) -> None:
        if len(self) > self._first[-1]:
            self._blocks.append(zlib.compress(self._open, 1))
            self._first.append(len(self))
            self._open.clear()


class CocoResults(Sequence[dict]):
    """A sequence of COCO results (``image_id``, ``category_id``, ``score``, and the same ones of ``bbox``,
    ``segmentation`` and ``keypoints`` in each), kept in columns. An entry is made when it is asked for: what is
    changed in one is not kept.
    """

    def __init__(self, entries: Iterable[dict] = ()):
        self.kinds: tuple[str, ...] = ()
        """Which of bbox, segmentation and keypoints every entry has."""
        self.points = 0
        """Numbers in ``keypoints``."""
        self._ids, self._scores, self._boxes, self._points = array("q"), array("d"), array("d"), array("d")
        self._counts, self._sizes = PackedTexts(), array("q")
        self._others: dict[int, Any] = {}  # masks that are no packed run lengths, by position
        for entry in entries:
            self.append(entry)

    def append(self, entry: dict) -> None:
        """Add an entry. Raises ValueError for one that has not the same kinds as those before."""
        kinds = tuple(key for key in (BOX, MASK, POINTS) if key in entry)
        points = len(entry[POINTS]) if POINTS in entry else 0
        if not self._scores:
            self.kinds, self.points = kinds, points
        elif (kinds, points) != (self.kinds, self.points):
            raise ValueError(f"{', '.join(kinds)} after entries with {', '.join(self.kinds)}")
        if MASK in entry:
            self._add_mask(entry[MASK])
        self._ids.extend(int(entry[key]) for key in IDS)
        self._scores.append(entry["score"])
        self._boxes.extend(entry.get(BOX, ()))
        self._points.extend(entry.get(POINTS, ()))

    def extend(self, others: "CocoResults") -> None:
        """Add the entries of ``others``. Raises ValueError as `append` does."""
        if not len(others):
            return
        if not self._scores:
            self.kinds, self.points = others.kinds, others.points
        elif (others.kinds, others.points) != (self.kinds, self.points):
            raise ValueError(f"{', '.join(others.kinds)} after entries with {', '.join(self.kinds)}")
        self._others |= {len(self) + position: mask for position, mask in others._others.items()}
        for name in ("_ids", "_scores", "_boxes", "_points", "_sizes", "_counts"):
            getattr(self, name).extend(getattr(others, name))

    def replace_mask(self, position: int, mask: dict) -> None:
        """Give an entry another mask."""
        self._others[position] = mask

    def ids(self, key: str) -> set[int]:
        """All the values of ``image_id`` or ``category_id``."""
        return set(self._ids[IDS.index(key) :: 2])

    def __len__(self) -> int:
        return len(self._scores)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self._entry(position) for position in range(len(self))[index]]
        return self._entry(range(len(self))[index])

    def __iter__(self) -> Iterator[dict]:
        return map(self._entry, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(a == b for a, b in zip(self, other, strict=True))

    def _entry(self, position: int) -> dict:
        """In the order of keys that Detectron2 writes."""
        entry: dict[str, Any] = dict(zip(IDS, self._ids[2 * position : 2 * position + 2], strict=True))
        if BOX in self.kinds:
            entry[BOX] = self._boxes[4 * position : 4 * position + 4].tolist()
        entry["score"] = self._scores[position]
        if MASK in self.kinds:
            entry[MASK] = self._mask(position)
        if POINTS in self.kinds:
            entry[POINTS] = self._points[self.points * position : self.points * (position + 1)].tolist()
        return entry

    def _add_mask(self, mask: Any) -> None:
        size, counts = (mask.get("size"), mask.get("counts")) if isinstance(mask, dict) else (None, None)
        if (
            isinstance(counts, str)
            and counts.isascii()
            and isinstance(size, list)
            and [type(side) for side in size] == [int, int]
            and max(map(abs, size)) <= LARGEST_ID
        ):
            self._counts.append(counts.encode("ascii"))
            self._sizes.extend(size)
        else:
            self._others[len(self)] = mask
            self._counts.append(b"")
            self._sizes.extend((0, 0))

    def _mask(self, position: int) -> Any:
        if position in self._others:
            return self._others[position]
        size = self._sizes[2 * position : 2 * position + 2].tolist()
        return {"size": size, "counts": self._counts[position].decode("ascii")}
