"""Signals ask a run to save and stop."""

import os
import signal

import pytest

from runtime import stopping


@pytest.fixture
def handlers():
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "numbers, code",
    [
        ([signal.SIGTERM], 75),
        ([signal.SIGUSR2], 75),
        ([signal.SIGHUP], 75),
        ([signal.SIGINT], 130),
        ([signal.SIGINT] * 2, 130),
        ([signal.SIGTERM] * 5, 75),
    ],
)
def test_every_signal_is_a_request_and_a_second_ctrl_c_does_not_lose_the_save(handlers, numbers, code):
    stop = stopping.StopRequest()
    for number in numbers:
        os.kill(os.getpid(), number)
    assert stop.signal == numbers[0] and stop.exit_code == code
    with pytest.raises(stopping.Stopped):
        stop.check()


def test_a_third_ctrl_c_does_not_wait(handlers):
    stopping.StopRequest()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)


def test_under_nohup_a_closed_terminal_stops_nothing(handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = stopping.StopRequest()
    os.kill(os.getpid(), signal.SIGHUP)
    assert stop.signal is None
