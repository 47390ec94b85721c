"""How a fine-tuning run ends early: an exception that passes through Detectron2's loop and its handlers."""

from pretrain.stopping import StopRequest


class Stopped(BaseException):
    """The process was asked to stop; ``code`` is its exit code. No ``Exception``, so that nobody swallows it."""

    def __init__(self, code: int):
        super().__init__("asked to stop")
        self.code = code


def check(stop: StopRequest) -> None:
    """Raise ``Stopped`` if a signal has arrived."""
    if stop.signal is not None:
        raise Stopped(stop.exit_code)
