"""Which checkpoints of a run stay: the newest few to resume from, and every so many steps one for good.

checkpoint.pth               the newest
checkpoints/step-000400.pth  older ones, as whole; one that has to move there is renamed, never written twice
"""

import contextlib
import re
import sys
from pathlib import Path

import torch

from pretrain.checkpoints import checkpoint
from runtime.command_line import UserError
from runtime.files import replacing

NAME = re.compile(r"step-(\d+)\.pth")


def row_variant(path: str | Path, variant: str) -> str:
    """The variant of the weights in ``path``: those of a kept checkpoint are a row of their own, ``step=400``."""
    kept = NAME.fullmatch(Path(path).name)
    return ", ".join(word for word in (variant, f"step={int(kept[1])}" if kept else "") if word)


class Checkpoints:
    """The checkpoints of a run's folder.

    Args:
        keep_last: how many of the newest to keep; from 2 on, a damaged newest one can be replaced by the one before.
        keep_every: of those whose step is a multiple of this, all are kept; 0: none.
    """

    def __init__(self, folder: Path, *, keep_last: int = 2, keep_every: int = 0):
        if keep_last < 1 or keep_every < 0:
            raise UserError(f"log.keep_last must be at least 1 and log.keep_every 0 or more: {keep_last}, {keep_every}")
        self.newest, self.older = folder / "checkpoint.pth", folder / "checkpoints"
        self.keep_last, self.keep_every = keep_last, keep_every
        self.step: int | None = None  # of `newest`, where that is whole and known
        self.promised: dict[Path, bool] = {}  # older ones -> whether they were kept for good when they were written

    def due(self, step: int) -> bool:
        """Whether a checkpoint of this step is one to be kept for good."""
        return self.keep_every > 0 and step % self.keep_every == 0

    def read(self) -> dict | None:
        """The newest checkpoint that can be read; None where there is none. Says which ones it could not read.

        Raises UserError where there are some and none of them can be read.
        """
        faults = []
        for path in self.paths():
            try:
                content = checkpoint.read(path)
            except UserError as fault:
                faults.append(fault)
                continue
            for fault in faults:
                print(f"{fault}; going on from {path.name}", file=sys.stderr)
            if path == self.newest:
                self.step = content.get("step")
            return content
        if faults:
            raise UserError(f"{faults[0]} There is no older one to go on from: delete it to begin again")
        return None

    def identity(self) -> dict | None:
        """What the newest checkpoint that can be read says of the run, as config.yaml does; None if there is none."""
        try:
            content = self.read()
        except UserError:
            return None
        if content is None or not {"method", "recipe", "config"} <= content.keys():
            return None
        about = {"method": content["method"], "recipe": content["recipe"], "settings": content["config"]}
        return about | ({"images": content["images"]} if "images" in content else {})

    def save(self, content: dict) -> None:
        """Write ``content``, which has its ``step``, as the newest; then remove what need not stay."""
        with replacing(self.newest) as temporary:
            checkpoint.write(temporary, content)
            if self.step is not None and self.step < content["step"] and (self.keep_last > 1 or self.due(self.step)):
                self.older.mkdir(exist_ok=True)
                self.newest.replace(self.older / f"step-{self.step:06d}.pth")
        self.step = content["step"]
        self._prune(self.keep_last - 1)

    def finish(self) -> None:
        """Of a complete run: only the last one and those kept for good stay."""
        self._prune(0)

    def stale(self) -> list[Path]:
        """The older ones that need not stay once the run is complete.

        What was kept for good stays, though the run goes on, or is asked for again, with another ``keep_every``.
        """
        return [path for step, path in self._passed().items() if not self.due(step) and not self._was_due(step, path)]

    def paths(self) -> list[Path]:
        """Every checkpoint there is, the newest first."""
        return [self.newest] * self.newest.exists() + list(self._passed().values())

    def _passed(self) -> dict[int, Path]:
        """Step -> file of the older ones, the newest first."""
        found = {int(name[1]): path for path in self.older.glob("*.pth") if (name := NAME.fullmatch(path.name))}
        return dict(sorted(found.items(), reverse=True))

    def _was_due(self, step: int, path: Path) -> bool:
        """Whether a checkpoint is of a step that the settings in it keep for good; its tensors are not read."""
        if path not in self.promised:
            every = 0
            with contextlib.suppress(Exception):  # a damaged one, or one that says nothing of it, was promised nothing
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
                every = int(content["config"]["log"]["keep_every"])
            self.promised[path] = every > 0 and step % every == 0
        return self.promised[path]

    def _prune(self, spare: int) -> None:
        for path in self.stale()[spare:]:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.older.rmdir()  # where nothing is left in it
