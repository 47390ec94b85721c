"""Tools around the suite: check a machine, run a SLURM on one machine."""
