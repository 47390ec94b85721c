"""The record of a run: log.jsonl as the source of truth, TensorBoard as a view of it."""

import json
from pathlib import Path

from runtime.files import write_text


class Log:
    """Appends one JSON object per logged step; on resuming, what lies past the checkpoint is dropped and redone."""

    def __init__(self, folder: Path, *, step: int):
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "log.jsonl"
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if _step(line) <= step]
            write_text(self.path, "".join(line + "\n" for line in kept))
        self.file = self.path.open("a", encoding="utf-8")
        self.board = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Record the values of a step (the number of steps done)."""
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        print(json.dumps({"step": step, **rounded}), file=self.file, flush=True)
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        self.file.close()
        self.board.close()


def _step(line: str) -> int:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return 1 << 62  # a line cut off by the interruption: redone
