"""Stopping on a signal: finish the iteration, save, and say by the exit code that the work is not done."""

import signal

TEMPORARY_FAILURE = 75
"""Exit code of a run that SIGTERM or SIGUSR2 interrupted (EX_TEMPFAIL): start the same command again to go on."""


class Stopped(BaseException):
    """The process was asked to stop; ``code`` is its exit code. No Exception, so that no handler swallows it."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.code = 130 if number == signal.SIGINT else TEMPORARY_FAILURE


class StopSignals:
    """Catches SIGTERM, SIGUSR2 and SIGINT, within a ``with`` block.

    While ``deferring`` is set, a signal is only noted in ``received``; otherwise it raises ``Stopped`` at once.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)

    def __init__(self):
        self.deferring = False
        self.received: int | None = None

    def __enter__(self):
        self._previous = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame) -> None:
        if not self.deferring:
            raise Stopped(number)
        self.received = number
