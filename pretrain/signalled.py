"""Which signal asked this process to stop. No torch here: a job looks at it that may not have imported any."""

latest: int | None = None
"""Number of the last signal that asked to stop; None if none did."""


def note(number: int) -> None:
    """Remember a signal; called by whoever handles one."""
    global latest
    latest = number
