"""Who waits for whom, by a clock that the test winds."""

from types import SimpleNamespace

import pytest

from pretrain.monitoring import data_wait
from pretrain.monitoring.data_wait import DataClock, Speeds, advice


@pytest.mark.parametrize("load, step, wait", [(0.3, 0.7, 0.3), (0.0, 0.5, 0.0)])
def test_waiting_is_told_from_the_step(load, step, wait, monkeypatch):
    """Ten steps of 100 images after the first; each of two processes takes 0.8 s to make a batch."""
    now = [0.0]
    monkeypatch.setattr(data_wait.time, "monotonic", lambda: now[0])

    def batches():
        for number in range(11):
            now[0] += load if number else 60.0  # the loader processes start
            yield SimpleNamespace(seconds=0.8)

    clock = DataClock(batches(), images=100, workers=2)
    assert clock.speeds() is None
    for _ in clock:
        now[0] += step
    now[0] -= step  # the first step belongs to no counted wait
    assert clock.speeds() == pytest.approx(Speeds(loader=250, step=100 / step, wait=wait))


@pytest.mark.parametrize("load, step, loader", [(0.3, 0.7, 100), (0.0, 0.5, float("inf"))])
def test_a_loader_that_does_not_time_itself_is_known_where_it_limits(load, step, loader, monkeypatch):
    """Evaluation, for 60 s after the fifth step, is left out."""
    now = [0.0]
    monkeypatch.setattr(data_wait.time, "monotonic", lambda: now[0])

    def batches():
        for _ in range(11):
            now[0] += load
            yield "images", "labels"

    clock = DataClock(batches(), images=100, workers=2)
    for number, _ in enumerate(clock):
        if number < 10:
            now[0] += step
        if number == 5:
            with clock.paused():
                now[0] += 60
    assert clock.speeds() == pytest.approx(Speeds(loader=loader, step=100 / step, wait=load))


SLOW = Speeds(loader=530, step=1100, wait=0.52)


@pytest.mark.parametrize(
    "backend, device, ways",
    [
        ("pil", "cpu", "raise data.workers to 21 (with as many cores) or begin a new run with views.backend=auto"),
        ("cv2", "cuda", "raise data.workers to 21 (with as many cores) or begin a new run with views.backend=torch"),
        ("torch", "cuda", "raise data.workers to 21 (with as many cores)"),
    ],
)
def test_the_advice_names_the_setting(backend, device, ways):
    line = advice(SLOW, workers=10, backend=backend, device=device)
    assert line == f"loader 530 images/s, step 1,100: waits for data 52% of the time; {ways}"


def test_a_loader_that_keeps_up_needs_no_advice():
    assert "the step limits" in advice(Speeds(loader=2000, step=1100, wait=0.01), workers=10, backend="cv2", device="")
