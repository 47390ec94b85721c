"""Tasks of a job meet whatever else listens on their ports, and none waits for one that is dead."""

import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from runtime import rendezvous
from runtime.command_line import UserError
from runtime.rendezvous import RankInfo


def task(rank, world_size=2, key="job-7", host="127.0.0.1"):
    return RankInfo(rank=rank, world_size=world_size, local_rank=rank, host=host, key=key)


def meet(first: RankInfo, *others: RankInfo):
    """The ports that the others received, and all lifelines, the first task's first."""
    server = rendezvous.listen(first.key)
    received = {}

    def come(other):
        received[other.rank] = rendezvous.join(other)

    threads = [threading.Thread(target=come, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    lines = [rendezvous.invite(first, server, 4242)]
    for thread in threads:
        thread.join()
    return [received[other.rank][0] for other in others], lines + [received[other.rank][1] for other in others]


@pytest.mark.parametrize("nodes, first", [("gpu7", "gpu7"), ("a,b", "a"), ("gpu[07-09,12],x1", "gpu07")])
def test_first_host_of_a_slurm_node_list(nodes, first):
    assert rendezvous.first_host(nodes) == first


def test_all_tasks_receive_the_port_of_the_store():
    ports, lines = meet(task(0, 3), task(1, 3), task(2, 3))
    assert ports == [4242, 4242]
    for line in lines:
        line.close(well=True)


@pytest.mark.slow
def test_a_taken_port_is_passed_over_by_both_sides():
    """By a program that says nothing, and by another job's first task."""
    ports = rendezvous.ports_of("job-8")
    with socket.create_server(("", ports[0])), socket.create_server(("", ports[1])) as other_job:
        other = threading.Thread(target=rendezvous.invite, args=(task(0, key="other"), other_job, 1))
        other.start()
        received, lines = meet(task(0, key="job-8"), task(1, key="job-8"))
        for line in lines:
            line.close(well=True)
        with socket.create_connection(("127.0.0.1", ports[1])) as its_own_task:
            its_own_task.sendall(b"other 1\n")
            assert its_own_task.recv(100) == b"other 1\n"
            its_own_task.sendall(rendezvous.BYE)
        other.join()
    assert received == [4242]


def test_a_task_that_goes_before_it_has_its_answer_is_waited_for_again(monkeypatch):
    server = rendezvous.listen("job-10")
    first = socket.create_connection(server.getsockname())
    first.sendall(b"job-10 1\n")
    read_line = rendezvous.read_line

    def read_and_lose(line):
        said = read_line(line)
        if first.fileno() >= 0 and said == "job-10 1":
            first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # killed: no good-bye
            first.close()
            time.sleep(0.1)
        return said

    monkeypatch.setattr(rendezvous, "read_line", read_and_lose)
    received = []
    again = threading.Thread(target=lambda: received.extend(rendezvous.join(task(1, key="job-10"))))
    again.start()
    lines = rendezvous.invite(task(0, key="job-10"), server, 4242)
    again.join()
    assert received[0] == 4242
    for line in (lines, received[1]):
        line.close(well=True)


def test_ports_stay_below_those_that_the_system_gives_away():
    assert (
        all(20000 <= port < 32768 for port in rendezvous.ports_of("any")) and len(set(rendezvous.ports_of("any"))) > 9
    )


def test_a_name_that_does_not_resolve_is_one_line(monkeypatch):
    monkeypatch.setattr(rendezvous, "RESOLVE_S", 0.1)
    with pytest.raises(UserError, match="first node 'no-such-node.invalid' does not resolve"):
        rendezvous.join(task(1, host="no-such-node.invalid"))


def test_tasks_that_do_not_come_are_named_soon_and_again_at_the_end(monkeypatch, capsys):
    monkeypatch.setattr(rendezvous, "JOIN_S", 0.2)
    monkeypatch.setattr(rendezvous, "NOTICE_S", 0.05)
    with pytest.raises(UserError, match="tasks 1, 2 of 3 did not come"):
        rendezvous.invite(task(0, 3), rendezvous.listen("job-9"), 1)
    assert capsys.readouterr().err == "waits for tasks 1, 2 of 3 of this job\n"
    with pytest.raises(UserError, match="no first task"):
        rendezvous.join(task(1, key="job-nobody"))
    assert "waits for the first task of this job, on 127.0.0.1" in capsys.readouterr().err


SURVIVOR = """
import os, sys, time
from runtime import rendezvous
rendezvous.GRACE_S = 0.2
mine = rendezvous.RankInfo(rank=int(sys.argv[1]), world_size=2, local_rank=0, host="127.0.0.1", key=sys.argv[2])
if mine.rank:
    lines = rendezvous.join(mine)[1]
    child = os.fork()  # a loader process, which outlives its parent
    if child:
        if sys.argv[3] == "well":
            lines.close(well=True)
        os._exit(0)
    time.sleep(3)
else:
    lines = rendezvous.invite(mine, rendezvous.listen(mine.key), 1)
    time.sleep(1.5)  # as in a collective that never comes back
    lines.close(well=True)
"""


@pytest.mark.parametrize("how, code", [("well", 0), ("dead", 1)])
def test_a_task_ends_soon_after_another_died_and_not_after_one_that_is_done(how, code):
    key = f"job-{how}-{time.time()}"
    tasks = [subprocess.Popen([sys.executable, "-c", SURVIVOR, str(k), key, how], stderr=-1, text=True) for k in (0, 1)]
    assert tasks[0].wait(timeout=20) == code
    assert ("error: task 1 of this job died" in tasks[0].stderr.read()) == (how == "dead")
    tasks[1].wait(timeout=20)
