"""Several processes under Detectron2 without its launcher: SLURM or torchrun has started them already."""

import socket

import torch
from detectron2.utils import comm

from pretrain import distributed
from pretrain.command_line import UserError


def join(device: str) -> torch.device:
    """Join the other processes and tell Detectron2 which of them share this machine.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    chosen = distributed.init(device)
    if distributed.world_size() > 1:
        hosts = comm.all_gather(socket.gethostname())
        here = hosts.count(socket.gethostname())
        if any(hosts.count(host) != here for host in hosts):
            raise UserError(f"each machine must run as many processes as the others; found {sorted(hosts)}")
        comm.create_local_process_group(here)
    return chosen
