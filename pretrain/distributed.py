"""One process or many: who am I, gather with gradients, agree on something. Works the same without a group.

Processes are started by torchrun, by SLURM (one task per GPU) or not at all; `init` reads which from the environment.
"""

import os
import socket

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.command_line import UserError, one_of

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def init(device: str = "auto") -> torch.device:
    """Join the process group the environment describes (nccl on CUDA, gloo on CPU) and return this rank's device.

    Args:
        device: ``auto`` (CUDA if there is a GPU), ``cpu`` or ``cuda``.

    Raises UserError for a half-set environment, for CUDA without a GPU and for more local ranks than GPUs.
    """
    one_of("device", device, ["auto", "cpu", "cuda"])
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but torch finds no CUDA GPU; use device=cpu, or see `make doctor`")
    cuda = device != "cpu" and torch.cuda.is_available()
    environment = _environment()
    local = int(environment["LOCAL_RANK"]) if environment else 0
    if cuda and local >= torch.cuda.device_count():
        raise UserError(f"local rank {local} has no GPU: {torch.cuda.device_count()} visible; start one task per GPU")
    chosen = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(chosen)
    if environment and not dist.is_initialized():
        os.environ.update(environment)
        dist.init_process_group("nccl" if cuda else "gloo")
    return chosen


def _environment() -> dict[str, str] | None:
    """The torchrun variables, taken as they are or derived from SLURM's; None for a single process."""
    found = {name: os.environ[name] for name in TORCHRUN if name in os.environ}
    if "RANK" in found or "WORLD_SIZE" in found:
        missing = [name for name in TORCHRUN if name not in found]
        if missing:
            raise UserError(
                f"the environment sets {', '.join(found)} but not {', '.join(missing)}; start with torchrun"
            )
        return found
    # A batch script sees SLURM_NTASKS too; only what srun starts is one of the tasks.
    if int(os.environ.get("SLURM_NTASKS", 1)) < 2 or "SLURM_PROCID" not in os.environ:
        return None
    first_host = _first_host(os.environ["SLURM_JOB_NODELIST"])
    return {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": os.environ["SLURM_NTASKS"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "MASTER_ADDR": os.environ.get("MASTER_ADDR", first_host),
        # Two jobs on one node must not meet on one port; job ids of neighbours differ.
        "MASTER_PORT": os.environ.get("MASTER_PORT", str(20000 + int(os.environ["SLURM_JOB_ID"]) % 40000)),
    }


def _first_host(node_list: str) -> str:
    """``gpu[07-09,12]`` -> ``gpu07``; a list of names -> the first one."""
    head, bracket, rest = node_list.partition("[")
    if not bracket or "," in head:
        return head.split(",")[0]
    host = head + rest.split("]")[0].split(",")[0].split("-")[0]
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise UserError(
            f"the first node {host!r} does not resolve to an address here; check DNS or /etc/hosts"
        ) from error
    return host


def rank() -> int:
    """This process among all, 0 for a single one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and speaks."""
    return rank() == 0


def barrier() -> None:
    """Wait for every process."""
    if world_size() > 1:
        dist.barrier()


def shutdown() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    """Concatenate the ranks' rows; the backward pass sums over ranks what each thinks of my rows."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous()
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]


def gather(rows: Tensor) -> Tensor:
    """(b, ...) on each rank -> (B, ...) on every rank, in rank order, gradients kept.

    Every rank computes the whole loss, so the backward pass adds up world_size equal gradients; DDP's mean over
    ranks divides by world_size again, and the result is the gradient of one process on the whole batch.
    """
    return _Gather.apply(rows) if world_size() > 1 else rows


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over ranks, without gradients."""
    value = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(value)
    return value / world_size()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether ``flag`` holds on any rank: how all ranks agree to stop at the same step."""
    if world_size() == 1:
        return flag
    vote = torch.tensor(float(flag), device=device)
    dist.all_reduce(vote)
    return bool(vote.item())
