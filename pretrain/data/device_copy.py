"""Batches on their way to the GPU, while it computes earlier steps."""

from collections.abc import Iterable, Iterator

import torch

from pretrain.data.datasets import Batch


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches with their tensors on ``device``.

    A GPU copies them on a stream of its own. A step that waits for nothing is launched long before it is computed, so
    that the next batch, asked for as soon as it is launched, is there in time.
    """
    if device.type != "cuda":
        yield from batches
        return
    copying, computing = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    for batch in batches:
        with torch.cuda.stream(copying):
            moved = batch.to(device)
        computing.wait_stream(copying)
        for tensor in moved.tensors():
            tensor.record_stream(computing)  # its memory is free again once the step is computed
        yield moved
