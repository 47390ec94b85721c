"""Several processes under Detectron2 without its launcher: SLURM or torchrun has started them already."""

import socket
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from detectron2.utils import comm

from runtime import distributed
from runtime.command_line import UserError

Value = TypeVar("Value")


def join(device: str) -> torch.device:
    """Join the other processes and tell Detectron2 which of them share this machine.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    chosen = distributed.init(device)
    if distributed.world_size() > 1:
        hosts: list[str] = every_ranks(socket.gethostname())
        here = hosts.count(socket.gethostname())
        if any(hosts.count(host) != here for host in hosts):
            raise UserError(f"each machine must run as many processes as the others; found {sorted(hosts)}")
        comm.create_local_process_group(here)
    return chosen


def every_ranks(value: Any) -> list[Any]:
    """The values of all ranks, which may be anything that can be pickled."""
    gathered: Any = comm.all_gather(value)  # annotated as if it returned nothing
    return gathered


def main_first(function: Callable[[], Value], *, every_rank: bool = True) -> Value:
    """Call ``function`` in the main process, then in the others, which find its files there.

    With ``every_rank`` False the others do not call it: they get the main process's value. A UserError in the main
    process is raised in all of them: none waits for one that is gone.
    """
    value: Any = None
    failure: tuple[str, ...] = ()
    if distributed.is_main():
        try:
            value = function()
        except UserError as error:
            failure = error.faults
    failure, shared = every_ranks((failure, None if every_rank else value))[0]
    if failure:
        raise UserError.of(failure)
    if not every_rank:
        return shared
    return value if distributed.is_main() else function()
