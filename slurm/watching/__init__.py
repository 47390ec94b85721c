"""What became of the jobs: queue, records, progress, estimates."""
