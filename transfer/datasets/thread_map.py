"""Many small files at once: reading and decoding release Python's lock, so threads are enough."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from runtime.progress import Progress

Item = TypeVar("Item")
Value = TypeVar("Value")

MOST = 32


def mapped(function: Callable[[Item], Value], items: Iterable[Item], label: str) -> list[Value]:
    """``[function(item) for item in items]``, several at a time, with progress; the first exception ends it."""
    items = list(items)
    progress, values = Progress(len(items), label), []
    with ThreadPoolExecutor(min(MOST, 2 * (os.cpu_count() or 1))) as pool:
        try:
            for done, value in enumerate(pool.map(function, items), 1):
                values.append(value)
                progress.update(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return values
