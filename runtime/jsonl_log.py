"""The record of a run's steps: log.jsonl as the source of truth, TensorBoard as a view of it."""

import json
import sys
import threading
from pathlib import Path

from runtime.command_line import UserError
from runtime.files import write_text


class Log:
    """Appends one JSON object per logged step.

    On resuming, what lies past the checkpoint is dropped and done again; so is a line that is damaged, which is said.
    Raises UserError where it cannot be written.
    """

    def __init__(self, folder: Path, *, step: int):
        from torch.utils.tensorboard import SummaryWriter

        threading.excepthook = _on_thread_error
        self.path = folder / "log.jsonl"
        _cut_back(self.path, step)
        try:
            self.file = self.path.open("a", encoding="utf-8")
            self.board = SummaryWriter(folder / "tensorboard", purge_step=step + 1)
        except OSError as error:
            where = error.filename or self.path
            raise UserError(f"cannot write {where}: {error.strerror}; remove it, or choose another --out") from error

    def write(self, step: int, values: dict[str, float]) -> None:
        """Record the values of a step (the number of steps done)."""
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        try:
            print(json.dumps({"step": step, **rounded}), file=self.file, flush=True)
            for name, value in values.items():
                self.board.add_scalar(name, value, step)
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; choose another folder, or repair this one"
            ) from error

    def close(self) -> None:
        self.file.close()
        self.board.close()


def _on_thread_error(args: threading.ExceptHookArgs) -> None:
    """What TensorBoard's thread cannot write the next `Log.write` raises again: no traceback of its own."""
    if not (isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard")):
        threading.__excepthook__(args)


def _cut_back(path: Path, step: int) -> None:
    """Keep the lines of ``path`` up to a step; one that is still being written, or damaged, goes."""
    if not path.is_file():
        return
    content = path.read_bytes()
    lines, rest = content.split(b"\n")[:-1], content.rpartition(b"\n")[2]
    kept, damaged = [], []
    for number, line in enumerate(lines, 1):
        found = _step(line)
        if found is None:
            damaged.append(str(number))
        elif found <= step:
            kept.append(line.decode())
    if damaged:
        print(f"{path}: damaged lines are left out: {', '.join(damaged[:5])}", file=sys.stderr)
    if len(kept) < len(lines) or rest:
        write_text(path, "".join(line + "\n" for line in kept))


def _step(line: bytes) -> int | None:
    try:
        step = json.loads(line.decode())["step"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return step if type(step) is int else None
