"""What every command shares: command line, settings, run folders, files, stopping, processes, job records."""
