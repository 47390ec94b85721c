"""The one-machine SLURM ends what it started and nothing else; the cluster itself is tried in tests/slurm/real."""

import subprocess
import sys

import pytest

from runtime.command_line import UserError
from tools.local_slurm import configuration, hosts, prerequisites, services


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(services, "FOLDER", tmp_path)
    (tmp_path / "log").mkdir()
    yield tmp_path
    for name in services.names():
        services.stop(name)


def test_a_service_is_started_once_and_ended_by_its_record(folder):
    services.start("sleeper", "sleep", "60", ready=lambda: True)
    first = services.running("sleeper")
    services.start("sleeper", "sleep", "60", ready=lambda: True)
    assert services.running("sleeper") == first > 0
    services.stop("sleeper")
    assert not services.running("sleeper") and services.names() == []


def test_a_later_process_with_the_number_of_a_dead_service_is_left_alone(folder):
    other = subprocess.Popen(["sleep", "60"])
    services.record("sleeper").write_text(f"{other.pid} 1")
    assert not services.running("sleeper")
    services.stop("sleeper")
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_service_that_ends_at_once_names_the_reason(folder):
    with pytest.raises(UserError, match="liar did not come up .no such key.; see .*liar.out"):
        services.start("liar", "sh", "-c", "echo no such key; exit 3", ready=lambda: False)


@pytest.mark.parametrize("before", ["127.0.0.1 localhost\n", "127.0.0.1 localhost", ""])
def test_the_hosts_file_is_as_it_was(tmp_path, monkeypatch, before):
    monkeypatch.setattr(hosts, "HOSTS", tmp_path / "hosts")
    hosts.HOSTS.write_text(before)
    hosts.add()
    hosts.add()
    assert hosts.HOSTS.read_text().count("127.0.0.1 node1 node2") == 1
    hosts.remove()
    hosts.remove()
    assert hosts.HOSTS.read_text().splitlines() == before.splitlines()


def test_packages_that_are_missing_and_cannot_be_installed_are_one_line(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="missing Debian packages: munge slurm-client slurmctld slurmd; install"):
        prerequisites.install_packages(accounting=False)
    with pytest.raises(UserError, match="mariadb-server"):
        prerequisites.install_packages(accounting=True)


def test_without_root_or_sudo_it_is_one_line(monkeypatch):
    monkeypatch.setattr(prerequisites.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=f"as root: {sys.executable} up.py"):
        prerequisites.become_root("up.py", [])


def test_no_port_is_a_default_of_slurm_or_one_that_jobs_meet_on():
    from runtime.rendezvous import FIRST_PORT, PORTS

    ports = set(configuration.PORTS.values())
    assert len(ports) == 4 and not ports & {6817, 6818, 6819}
    assert not any(FIRST_PORT <= port < FIRST_PORT + PORTS for port in ports)
