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


SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT)
"""What asks a run to save and stop; SIGHUP comes when a terminal closes."""


class StopRequest:
    """Remembers that one of SIGNALS arrived; the loop asks between two steps. Under nohup, SIGHUP stays ignored."""

    def __init__(self):
        self.signal: int | None = None
        self.interrupts = 0
        for number in SIGNALS:
            if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN):
                signal.signal(number, self._note)

    def _note(self, number: int, frame) -> None:
        self.interrupts += number == signal.SIGINT
        if self.interrupts > 2:  # two may come from one impatient hand; the third does not wait for the step to end
            raise KeyboardInterrupt
        self.signal = number
        note_signal(number)

    @property
    def exit_code(self) -> int:
        return 130 if self.signal == signal.SIGINT else RESUME_ME

    def check(self) -> None:
        """Raise ``Stopped`` if a signal has arrived."""
        if self.signal is not None:
            raise Stopped(self.exit_code)
