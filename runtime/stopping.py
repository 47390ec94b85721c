"""A signal asks a run to save and stop. No torch here: the job that runs a command listens too."""

import signal

RESUME_ME = 75
"""Exit code of a command that saved and stopped: the same command goes on (EX_TEMPFAIL of sysexits.h)."""

latest_signal: int | None = None
"""Number of the last signal that asked this process to stop; None if none did."""


def note_signal(number: int) -> None:
    """Remember a signal; called by whoever handles one."""
    global latest_signal
    latest_signal = number


class Stopped(BaseException):
    """The process was asked to stop; ``code`` is its exit code. No ``Exception``, so that no handler swallows it."""

    def __init__(self, code: int):
        super().__init__("asked to stop")
        self.code = code


class StopRequest:
    """Remembers that SIGTERM, SIGUSR2 or SIGINT arrived; the loop asks between two steps."""

    def __init__(self):
        self.signal: int | None = None
        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C does not wait for the step to end
        self.signal = number
        note_signal(number)

    @property
    def exit_code(self) -> int:
        return 130 if self.signal == signal.SIGINT else RESUME_ME

    def check(self) -> None:
        """Raise ``Stopped`` if a signal has arrived."""
        if self.signal is not None:
            raise Stopped(self.exit_code)
