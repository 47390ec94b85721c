"""How the tasks of a job find each other, and how they notice that one of them has died.

The first task listens on a port derived from the job's key; where that is taken, on the next of a fixed list. The
others try the list until a process answers with the key, so two jobs on a node, or two starts of one job, never mix.
The connections stay open as lifelines: one that breaks without a good-bye means that a task is gone, and the
others end, whatever they wait for. No torch here: a job reads this before it imports anything large.
"""

import hashlib
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtime.command_line import UserError

FIRST_PORT, PORTS, TRIES = 20000, 12000, 16
"""Below the ports (32768 and up) that Linux gives to outgoing connections by itself."""

JOIN_S, NOTICE_S = 300.0, 5.0
"""How long the tasks wait for each other: nodes import torch from a shared disk at very different speeds. And when they
say for whom."""

RESOLVE_S = 15.0
GRACE_S = 20.0
"""After a task has died, the time the others get to end by themselves; then they are ended."""

BYE = b"bye"

on_lost_task: Callable[[str], None] | None = None
"""Called with the reason before this process is ended because another task of the job has died; a job records it."""


@dataclass(frozen=True, kw_only=True)
class RankInfo:
    """Which task of a job this process is, and where the first one is."""

    rank: int
    world_size: int
    local_rank: int
    host: str

    key: str
    """The same for all tasks of one start of a job; another start has another."""

    def variables(self) -> dict[str, str]:
        """As torchrun's environment variables, with the key in the place of its port."""
        numbers = {"RANK": self.rank, "WORLD_SIZE": self.world_size, "LOCAL_RANK": self.local_rank}
        return {name: str(value) for name, value in numbers.items()} | {"MASTER_ADDR": self.host, "JOB_KEY": self.key}


def of_slurm(variables: Mapping[str, str]) -> RankInfo | None:
    """The rank of a task that srun started; None for a single one, and where srun did not start this process.

    SLURM gives a batch script, which is one process, the same number of tasks and rank 0: only a step has a list of
    nodes of its own.
    """
    tasks = int(variables.get("SLURM_NTASKS", 1))
    if tasks < 2 or "SLURM_PROCID" not in variables:
        return None
    if "SLURM_STEP_NODELIST" not in variables:
        print(
            f"SLURM has {tasks} tasks for this job, but srun did not start this process: it runs alone; "
            "to start one process per task: srun python ...",
            file=sys.stderr,
        )
        return None
    start = (variables["SLURM_JOB_ID"], variables.get("SLURM_STEP_ID", "0"), variables.get("SLURM_RESTART_COUNT", "0"))
    return RankInfo(
        rank=int(variables["SLURM_PROCID"]),
        world_size=int(variables["SLURM_NTASKS"]),
        local_rank=int(variables["SLURM_LOCALID"]),
        host=first_host(variables["SLURM_STEP_NODELIST"]),
        key="slurm-" + ".".join(start),
    )


def first_host(node_list: str) -> str:
    """``gpu[07-09,12],x1`` -> ``gpu07``; ``a,b`` -> ``a``."""
    head, bracket, rest = node_list.partition("[")
    if not bracket or "," in head:
        return head.split(",")[0]
    return head + rest.split("]")[0].split(",")[0].split("-")[0]


def ports_of(key: str) -> list[int]:
    """Where the first task of a job may listen, in order of preference."""
    first = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    return [FIRST_PORT + (first + 997 * k) % PORTS for k in range(TRIES)]


def listen(key: str) -> socket.socket:
    """A socket on the first free port of the list. Raises UserError if all are taken."""
    for port in ports_of(key):
        try:
            return socket.create_server(("", port), backlog=1024)
        except OSError:
            continue
    raise UserError(f"all {TRIES} ports of this job are taken on {socket.gethostname()}; submit it again")


class Lifelines:
    """The open connections between the first task and the others; made by `invite` and `join`."""

    def __init__(self, info: RankInfo, lines: dict[int, socket.socket]):
        self.info, self.lines = info, lines
        self.closing = False
        # Loader processes would keep a dead task's connections open.
        os.register_at_fork(after_in_child=self._let_go)
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self, *, well: bool) -> None:
        """Say good-bye, or let the others know that this task ends before its end."""
        self.closing = True
        for line in self.lines.values():
            try:
                if well:
                    line.sendall(BYE)
                line.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it was gone before us

    def _let_go(self) -> None:
        for line in self.lines.values():
            line.close()

    def _watch(self) -> None:
        rank_of = {line: rank for rank, line in self.lines.items()}
        while rank_of:
            for line in select.select(list(rank_of), [], [])[0]:
                try:
                    said = line.recv(16)
                except OSError:
                    said = b""
                rank = rank_of.pop(line)
                if not said and not self.closing:
                    self._end(rank)

    def _end(self, rank: int) -> None:
        """Give the main thread a moment to notice by itself; else end the process."""
        time.sleep(GRACE_S)
        if not self.closing:
            print(f"error: {lost(rank)}", file=sys.stderr, flush=True)
            if on_lost_task is not None:
                on_lost_task(lost(rank))
            os._exit(1)


def lost(rank: int | None = None) -> str:
    """What to tell the user when another task has died."""
    who = "another task" if rank is None else f"task {rank}"
    return f"{who} of this job died; its own log says why; the same command goes on from the last checkpoint"


def invite(info: RankInfo, server: socket.socket, store_port: int) -> Lifelines:
    """Tell every other task, as it comes, the port of the store; the first task's half of `join`.

    Raises UserError that names the tasks that did not come.
    """
    lines: dict[int, socket.socket] = {}
    began, noticed = time.monotonic(), False
    with server:
        while len(lines) < info.world_size - 1:
            server.settimeout(max(0.01, began + (JOIN_S if noticed else min(NOTICE_S, JOIN_S)) - time.monotonic()))
            try:
                line, _ = server.accept()
            except TimeoutError as error:
                missing = ", ".join(str(rank) for rank in range(1, info.world_size) if rank not in lines)
                if time.monotonic() - began < JOIN_S:
                    noticed = True
                    print(f"waits for tasks {missing} of {info.world_size} of this job", file=sys.stderr, flush=True)
                    continue
                raise UserError(
                    f"tasks {missing} of {info.world_size} did not come within {JOIN_S:.0f} s; "
                    f"do they reach {info.host}? Their own logs say more"
                ) from error
            line.settimeout(5.0)
            key, _, rank = read_line(line).partition(" ")
            if key == info.key and rank.isdigit() and answered(line, f"{info.key} {store_port}\n"):
                line.settimeout(None)
                lines[int(rank)] = line
            else:
                line.close()
    return Lifelines(info, lines)


def answered(line: socket.socket, text: str) -> bool:
    """Whether the other side takes the text; a task that has just gone is waited for again."""
    try:
        line.sendall(text.encode())
    except OSError:
        return False
    return True


def join(info: RankInfo) -> tuple[int, Lifelines]:
    """Find the first task; return the port of its store, and the line to it. Raises UserError if it is not found."""
    began, noticed = time.monotonic(), False
    while True:
        for port in ports_of(info.key):
            try:
                line = socket.create_connection((info.host, port), timeout=5.0)
            except socket.gaierror as error:
                if time.monotonic() - began > RESOLVE_S:
                    raise UserError(
                        f"the first node {info.host!r} does not resolve to an address on {socket.gethostname()}; "
                        "check DNS or /etc/hosts"
                    ) from error
                break
            except OSError:
                continue  # no listener there yet
            try:
                line.sendall(f"{info.key} {info.rank}\n".encode())
                key, _, store = read_line(line).partition(" ")
            except OSError:
                key = store = ""
            if key == info.key:
                line.settimeout(None)
                return int(store), Lifelines(info, {0: line})
            line.close()  # another job's
        if not noticed and time.monotonic() - began > NOTICE_S:
            noticed = True
            print(f"waits for the first task of this job, on {info.host}", file=sys.stderr, flush=True)
        if time.monotonic() - began > JOIN_S:
            raise UserError(f"no first task of this job on {info.host} within {JOIN_S:.0f} s; can nodes reach it?")
        time.sleep(0.2)


def read_line(line: socket.socket) -> str:
    """The line that the other side says; empty if it says none, or no text."""
    said = b""
    try:
        while not said.endswith(b"\n") and len(said) < 300:
            if not (more := line.recv(1)):
                return ""
            said += more
    except OSError:
        return ""
    return said.decode(errors="replace").strip()
