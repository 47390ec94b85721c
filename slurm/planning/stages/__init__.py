"""The functions of the stages, by concern: from an experiment and a row to the calls of a command."""
