"""The checkpoints of a fine-tuning run: whole or not there, under Detectron2's names, read without running code.

The newest checkpoint that can be read is the one a run resumes from; what is damaged is named and passed over.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm

from pretrain.checkpoints import checkpoint
from runtime.command_line import UserError, printable, shortened
from runtime.files import write_text
from transfer.detection.launch import every_ranks

FINAL = "model_final.pth"

NUMBERED = re.compile(r"model_(\d{7,})\.pth")
"""Detectron2's name of the checkpoint after an iteration, counted from 0."""


def numbered(folder: Path) -> list[Path]:
    """The checkpoints of a folder that a run needs only to resume, oldest first."""
    names = ((NUMBERED.fullmatch(path.name), path) for path in folder.iterdir()) if folder.is_dir() else ()
    return [path for _, path in sorted((int(name[1]), path) for name, path in names if name)]


def newest_first(folder: Path) -> list[Path]:
    """All checkpoints of a folder, in the order in which a run would resume from them."""
    final = [folder / FINAL] if (folder / FINAL).exists() else []
    return [*final, *reversed(numbered(folder))]


class Checkpointer(DetectionCheckpointer):
    """Same files and names as Detectron2's (model_0000099.pth, model_final.pth, last_checkpoint)."""

    run: Mapping[str, Any] = {}
    """What the checkpoints say of the run that makes them: its record, should that be lost."""

    def save(self, name: str, **extra) -> None:
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = Path(self.save_dir) / f"{name}.pth"
        checkpoint.save(path, {"model": self.model.state_dict(), **states, "run": dict(self.run), **extra})
        self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        write_text(Path(self.save_dir) / "last_checkpoint", last_filename_basename)

    def load_weights(self, content: dict) -> None:
        """Load converted weights, as transfer.checkpoints.weights reads them, by Detectron2's own rules of names."""
        self._log_incompatible_keys(self._load_model({**content, "model": dict(content["model"])}))

    def resume(self) -> Path | None:
        """Load the newest checkpoint that can be read, and all that goes with it; None if there is none.

        The main process chooses, every process loads the same file. Raises UserError if all are damaged.
        """
        path, content, fault = None, None, ""
        if comm.is_main_process():
            path, content, fault = self._newest()
        path, fault = every_ranks((path, fault))[0]
        if fault:
            raise UserError(fault)
        if path is None:
            return None
        content = checkpoint.read(path) if content is None else content
        self.model.load_state_dict(content["model"])
        for key, part in self.checkpointables.items():
            part.load_state_dict(content[key])
        if comm.is_main_process():  # a kill may have come between the file and its mark
            self.tag_last_checkpoint(path.name)
        return path

    def _newest(self) -> tuple[Path | None, dict | None, str]:
        folder = Path(self.save_dir)
        damaged = []
        for path in newest_first(folder):
            try:
                content = checkpoint.read(path)
                if not {"model", *self.checkpointables} <= content.keys():
                    raise UserError(f"{path} lacks the state of the optimiser or the schedule")
            except UserError as error:
                damaged.append(path)
                print(f"note: passed over: {printable(shortened(str(error)))}", file=sys.stderr)
                continue
            return path, content, ""
        fault = f"no checkpoint in {folder} can be read; delete {damaged[0].name} to start over" if damaged else ""
        return None, None, fault
