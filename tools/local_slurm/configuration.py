"""The configuration of the two-node cluster: files as text, each setting that surprises with its reason."""

import os
import secrets
import stat
from pathlib import Path

from tools.local_slurm import CONF, FOLDER, NODES

GPUS, CPUS = 2, 8
PORTS = {"slurmctld": 16817, "slurmdbd": 16819, "node1": 16821, "node2": 16822}
"""Not SLURM's own, so that a cluster this machine belongs to is not disturbed."""

SLURM = """\
ClusterName=local_slurm
SlurmctldHost=localhost
SlurmctldPort={slurmctld}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its old credentials have expired: 120 s by default.
AuthInfo=socket={folder}/munge/socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
JobRequeue=1
# Nodes may claim more cores than the machine has.
SlurmdParameters=config_overrides
# Both daemons share few cores with the jobs: be patient with messages, impatient with a node that is gone.
MessageTimeout=60
SlurmdTimeout=30
KillWait=30
# Look at the queue every two seconds instead of every minute.
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{accounting}
{nodes}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=30 PriorityTier=1 PreemptMode=OFF
PartitionName=cpu Nodes=ALL MaxTime=60 PriorityTier=1 PreemptMode=OFF
# A job in `urgent` takes the place of one in `spare`, which gets SIGTERM and has 30 seconds to save.
PartitionName=spare Nodes=ALL MaxTime=30 PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=ALL MaxTime=30 PriorityTier=9 PreemptMode=OFF
"""

NODE = "NodeName={name} NodeHostname=localhost Port={port} CPUs={cpus} Sockets=1 CoresPerSocket={cpus} \
ThreadsPerCore=1 RealMemory={memory} Gres=gpu:{gpus}"

ACCOUNTED = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={slurmdbd}
AccountingStoragePass={folder}/munge/socket
AccountingStorageTRES=gres/gpu"""

SLURMDBD = """\
DbdHost=localhost
DbdPort={slurmdbd}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm
"""


def write(*, accounting: bool) -> None:
    """Write every file the daemons read."""
    for folder in ("log", "state", "munge", *(f"spool/{node}" for node in NODES)):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)
    values = {**PORTS, "folder": FOLDER, "user": "root"}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    nodes = [NODE.format(name=n, port=PORTS[n], cpus=CPUS, gpus=GPUS, memory=memory) for n in NODES]
    storage = ACCOUNTED.format(**values) if accounting else "AccountingStorageType=accounting_storage/none"
    CONF.write_text(SLURM.format(accounting=storage, nodes="\n".join(nodes), **values), encoding="utf-8")
    (FOLDER / "cgroup.conf").write_text(cgroup(), encoding="utf-8")
    (FOLDER / "gres.conf").write_text(gres(), encoding="utf-8")
    if accounting:
        private(FOLDER / "slurmdbd.conf", SLURMDBD.format(**values).encode())
    private(FOLDER / "munge" / "key", secrets.token_bytes(128))


def gres() -> str:
    """GPUs that are null devices: without a file per GPU a node is INVAL, with one that is no device it counts none."""
    lines = ["AutoDetect=off"]
    for node in NODES:
        for gpu in range(GPUS):
            os.mknod(FOLDER / f"{node}-gpu{gpu}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        lines.append(f"NodeName={node} Name=gpu File={FOLDER}/{node}-gpu[0-{GPUS - 1}]")
    return "\n".join(lines) + "\n"


def cgroup() -> str:
    """slurmd asks for the kernel's cgroups even where nothing uses them."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes\n"
    return "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n"


def private(path: Path, content: bytes) -> None:
    """A file that only its owner may read: munge and slurmdbd refuse any other."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
