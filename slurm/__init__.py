"""The stages as a graph of jobs: on a SLURM cluster, or on this machine."""
