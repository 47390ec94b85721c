"""transfer.train that writes each iteration's losses, mean over ranks as Detectron2 reports them, to losses.jsonl."""

import json
from pathlib import Path

from transfer.train import parse, parser

__all__ = ["main", "parse", "parser"]


def main(argv):
    from transfer import train
    from transfer.detection import hooks, losses

    losses.PERIOD = 1

    folder = Path(argv[argv.index("--out") + 1])
    after_step = hooks.ShowProgress.after_step

    def after_step_and_record(self):
        after_step(self)
        latest = {key: value for key, (value, _) in self.trainer.storage.latest().items() if "loss" in key}
        if latest:  # the first rank has them
            with (folder / "losses.jsonl").open("a") as file:
                file.write(json.dumps(latest) + "\n")

    hooks.ShowProgress.after_step = after_step_and_record
    return train.main(argv)
