"""From a graph of jobs to batch scripts of a SLURM cluster."""
