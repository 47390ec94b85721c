"""The commands as console scripts of an installed checkout: ``ssl-convert`` is ``python transfer/convert.py``.

Commands are named as text and imported when called: runtime imports no other package.
"""

import importlib
from collections.abc import Callable

from runtime.command_line import run


def script(module: str) -> Callable[[], None]:
    """A function without arguments that runs the command in ``module`` and exits."""

    def call() -> None:
        run(importlib.import_module(module).main)

    return call


pretrain = script("pretrain.train")
convert = script("transfer.convert")
check_data = script("transfer.check_data")
finetune = script("transfer.train")
knn = script("transfer.knn")
linear = script("transfer.linear")
tables = script("analysis.tables")
run_all = script("slurm.run_all")
status = script("slurm.status")
