"""Running a job: on a node, or on this machine."""
