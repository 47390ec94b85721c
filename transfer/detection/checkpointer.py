"""Detectron2's checkpointer, with files that are whole or not there and a reader that runs no code."""

from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer

from runtime.command_line import UserError
from runtime.files import replacing, write_text
from transfer.checkpoints import weights


class Checkpointer(DetectionCheckpointer):
    """Same files and names as Detectron2's (model_0000099.pth, model_final.pth, last_checkpoint)."""

    def save(self, name: str, **extra) -> None:
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = Path(self.save_dir) / f"{name}.pth"
        with replacing(path) as temporary:
            torch.save({"model": self.model.state_dict(), **states, **extra}, temporary)
        self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        write_text(Path(self.save_dir) / "last_checkpoint", last_filename_basename)

    def _load_file(self, filename: str) -> dict:
        if filename.endswith(".pkl"):
            return weights.read(filename)
        return super()._load_file(filename)

    def _torch_load(self, f: str) -> dict:
        try:
            return torch.load(f, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises half a dozen kinds for a broken file
            raise UserError(f"checkpoint {f} cannot be read ({type(error).__name__}); delete it and resume") from error
