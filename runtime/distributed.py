"""One process or many: who am I, gather with gradients, agree on something. Works the same without a group.

Processes are started by torchrun, by SLURM (one task per GPU), by a job of slurm/ or not at all; `init` reads from the
environment which.
"""

import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from runtime import folder_lock, rendezvous
from runtime.command_line import UserError, one_of
from runtime.rendezvous import Lifelines, RankInfo

Value = TypeVar("Value")

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

WAIT = timedelta(hours=1)
"""How long a collective waits: the first rank may evaluate COCO for a while. A dead rank is noticed by its lifeline."""

LONG_WAIT = timedelta(days=2)
"""How long a collective waits for what has no common measure, like the copy of a data set."""

_lifelines: Lifelines | None = None


def init(device: str = "auto") -> torch.device:
    """Join the process group the environment describes (nccl on CUDA, gloo on CPU) and return this rank's device.

    Args:
        device: ``auto`` (CUDA if there is a GPU), ``cpu`` or ``cuda``.

    Raises UserError for a half-set environment, for CUDA without a GPU, for more local ranks than GPUs, and where the
    processes do not find each other.
    """
    one_of("device", device, ["auto", "cpu", "cuda"])
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but torch finds no CUDA GPU; use device=cpu, or see `make doctor`")
    cuda = device_type(device) == "cuda"
    info = _rank_info()
    local = info.local_rank if info else 0
    if cuda and local >= torch.cuda.device_count():
        raise UserError(f"local rank {local} has no GPU: {torch.cuda.device_count()} visible; start one task per GPU")
    chosen = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(chosen)
    if info and not dist.is_initialized():
        _join(info, "nccl" if cuda else "gloo")
    return chosen


def device_type(device: str) -> str:
    """``cuda`` or ``cpu``: what `init` makes of ``device``, as far as no fault is found, without joining anyone."""
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _join(info: RankInfo, backend: str) -> None:
    """Make the process group: by torchrun's own store, or by one of the first task's that all others are told of."""
    global _lifelines
    if not info.key:
        dist.init_process_group(backend, timeout=WAIT)
        return
    if info.rank == 0:
        server = rendezvous.listen(info.key)
        store = dist.TCPStore("localhost", 0, info.world_size, is_master=True, wait_for_workers=False, timeout=WAIT)
        _lifelines = rendezvous.invite(info, server, store.port)
    else:
        port, _lifelines = rendezvous.join(info)
        store = dist.TCPStore(info.host, port, info.world_size, is_master=False, timeout=WAIT)
    dist.init_process_group(backend, store=store, rank=info.rank, world_size=info.world_size, timeout=WAIT)


def _rank_info() -> RankInfo | None:
    """Where this process stands, from torchrun's variables (no key), a job's (with one) or SLURM's; None if alone."""
    found = {name: os.environ[name] for name in TORCHRUN if name in os.environ}
    if "RANK" not in found and "WORLD_SIZE" not in found:
        return rendezvous.of_slurm(os.environ)
    key = os.environ.get("JOB_KEY", "")
    missing = [name for name in TORCHRUN if name not in found and not (key and name == "MASTER_PORT")]
    if missing:
        raise UserError(f"the environment sets {', '.join(found)} but not {', '.join(missing)}; start with torchrun")
    return RankInfo(
        rank=int(found["RANK"]),
        world_size=int(found["WORLD_SIZE"]),
        local_rank=int(found["LOCAL_RANK"]),
        host=found["MASTER_ADDR"],
        key=key,
    )


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


def from_main(function: Callable[[], Value]) -> Value:
    """What ``function`` gives in the first process, in every process; a UserError there is raised in all of them."""
    if world_size() == 1:
        return function()
    answer: list[Any] = [None, ()]
    if is_main():
        try:
            answer[0] = function()
        except UserError as error:
            answer[1] = error.faults
    dist.broadcast_object_list(answer)
    if answer[1]:
        raise UserError.of(answer[1])
    return answer[0]


def on_every_rank(function: Callable[[], Value]) -> Value:
    """What ``function`` gives in each process, once it has ended in all; a UserError in one is raised in all of them.

    It may take longer than collectives wait otherwise.
    """
    if world_size() == 1:
        return function()
    group: Any = dist.new_group(timeout=LONG_WAIT)
    dist.barrier(group)  # NCCL connects at the first collective, and waits for that no longer than elsewhere
    answer: list[Value] = []
    faults: Sequence[str] = ()
    try:
        answer.append(function())
    except UserError as error:
        faults = error.faults
    found: list[Any] = [()] * world_size()
    dist.all_gather_object(found, faults, group=group)
    dist.destroy_process_group(group)
    if any(found):
        raise UserError.of(fault for faults in found for fault in faults)
    return answer[0]


def shutdown() -> None:
    """Leave the process group and give up the run's folder; a rank that leaves by an exception tells the others."""
    global _lifelines
    failing = sys.exc_info()[0] is not None
    folder_lock.release_all()
    if _lifelines:
        _lifelines.close(well=not failing)
        _lifelines = None
    if dist.is_initialized():
        dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    """Concatenate the ranks' rows; the backward pass sums over ranks what each thinks of my rows."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        whole = rows.new_empty(world_size() * len(rows), *rows.shape[1:])
        dist.all_gather_into_tensor(whole, rows.contiguous())
        return whole

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        mine = gradient.new_empty(len(gradient) // world_size(), *gradient.shape[1:])
        dist.reduce_scatter_tensor(mine, gradient.contiguous())
        return mine


def gather(rows: Tensor) -> Tensor:
    """(b, ...) on each rank -> (B, ...) on every rank, in rank order, gradients kept.

    Every rank computes the whole loss, so the backward pass adds up world_size equal gradients; DDP's mean over
    ranks divides by world_size again, and the result is the gradient of one process on the whole batch.
    """
    return _Gather.apply(rows) if world_size() > 1 else rows


def shard_size(count: int) -> int:
    """How many of ``count`` items each rank takes; the last ranks may have fewer of their own."""
    return -(-count // world_size())


def shard(count: int) -> list[int]:
    """This rank's indices of 0 .. count - 1, `shard_size` of them.

    Where the ranks do not divide ``count`` the last index is repeated, so that every rank meets the others in every
    collective.
    """
    size = shard_size(count)
    return [min(index, count - 1) for index in range(rank() * size, (rank() + 1) * size)]


def gather_shards(rows: Tensor, count: int) -> Tensor:
    """The rows (shard_size, ...) that each rank made of its `shard` -> the rows (count, ...) of all, on every rank."""
    return gather(rows)[:count]


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
