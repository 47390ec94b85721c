"""From a preset and a command line to a checked graph of jobs; nothing is run here."""
