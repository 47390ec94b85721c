"""A real SLURM of two nodes on this one machine, for tests: `up` starts it, `down` leaves nothing behind."""

import tempfile
from pathlib import Path

FOLDER = Path(tempfile.gettempdir()) / "local-slurm"
"""Everything the cluster is lies here: configuration, logs, sockets, database, process ids."""

CONF = FOLDER / "slurm.conf"
"""What SLURM_CONF is to be set to."""

NODES = ("node1", "node2")
