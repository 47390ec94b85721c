"""Names and classes of images as arrays: 12 bytes an image and its name, in a file that processes map into memory."""

import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data import mapped_arrays
from runtime.command_line import UserError
from runtime.read import parse_json

NO_LABEL = -1

FILE = "images.safetensors"
"""The index in a run's folder."""


@dataclass(frozen=True)
class ImageIndex:
    """Images in their order."""

    names: np.ndarray
    """The names relative to the root, one after another, uint8."""
    ends: np.ndarray
    """(n,) where each name ends, int64."""
    labels: np.ndarray
    """(n,) class numbers, int32; NO_LABEL where there are no classes."""
    classes: list[str]

    @classmethod
    def of(cls, names: Sequence[str]) -> "ImageIndex":
        """The index of names like ``cat/1.jpg``: the first folder is the class; a name without one leaves all without.

        Images of one class must follow each other, as they do in the order of a tree.
        """
        joined = np.frombuffer(os.fsencode("\0".join(names)), np.uint8)
        zeros = np.flatnonzero(joined == 0)
        ends = np.append(zeros - np.arange(len(zeros)), len(joined) - len(zeros)).astype(np.int64)
        classes: list[str] = []
        counts: list[int] = []
        for folder, members in itertools.groupby(names, lambda name: name[: name.find("/") + 1]):
            classes.append(folder[:-1])
            counts.append(sum(1 for _ in members))
        if "" in classes:
            labels, classes = np.full(len(names), NO_LABEL, np.int32), []
        else:
            labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
        return cls(joined[joined != 0], ends, labels, classes)

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, index: int) -> str:
        """The name of an image relative to the root."""
        start = self.ends[index - 1] if index else 0
        return os.fsdecode(self.names[start : self.ends[index]].tobytes())

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What tells these images from others: how many, of how many classes, and a hash of their names in order."""
        digest = hashlib.sha256(np.ascontiguousarray(self.names).data)
        digest.update(np.ascontiguousarray(self.ends).data)
        return {"count": len(self), "classes": len(self.classes), "sha256": digest.hexdigest()}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"names": self.names, "ends": self.ends, "labels": self.labels}

    def about(self) -> dict[str, str]:
        return {"classes": json.dumps(self.classes), "identity": json.dumps(self.identity)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], about: dict[str, str]) -> "ImageIndex":
        """An index of mapped arrays. Raises ValueError or LookupError where they do not belong together."""
        made = cls(arrays["names"], arrays["ends"], arrays["labels"], parse_json(about["classes"], "classes"))
        if not isinstance(made.classes, list) or not all(isinstance(name, str) for name in made.classes):
            raise ValueError("classes without names")
        kinds = [array.dtype for array in (made.names, made.ends, made.labels)]
        if kinds != [np.uint8, np.int64, np.int32] or not len(made.ends):
            raise ValueError("other arrays")
        if len(made.labels) != len(made) or not NO_LABEL <= made.labels.min() <= made.labels.max() < len(made.classes):
            raise ValueError("labels of no class")
        if made.ends[0] < 0 or (np.diff(made.ends) < 0).any() or made.ends[-1] != len(made.names):
            raise ValueError("names without an end")
        made.__dict__["identity"] = parse_json(about["identity"], "identity")
        return made

    def write(self, path: Path) -> None:
        """Write the index; a file that says the same stays, for others may have it mapped."""
        if not (path.exists() and self.is_in(path)):
            mapped_arrays.write(path, self.arrays(), self.about())

    def is_in(self, path: Path) -> bool:
        """Whether a file holds this index whole."""
        try:
            _, about = mapped_arrays.read(path, check=True)
        except UserError:
            return False
        return about["checksum"] == mapped_arrays.checksum(self.arrays())

    @classmethod
    def read(cls, path: Path, *, check: bool = False) -> "ImageIndex":
        """The index in a file, mapped. Raises UserError as `mapped_arrays.read` does."""
        arrays, about = mapped_arrays.read(path, check=check)
        try:
            return cls.from_arrays(arrays, about)
        except (ValueError, LookupError) as error:
            raise UserError(f"{path} is damaged ({error}); remove it") from error
