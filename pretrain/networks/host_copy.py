"""A number that a checkpoint keeps as a buffer and each step reads: from the host, without waiting for the device."""

import numpy as np
import torch
from torch import nn


class HostCopy:
    """The value of a buffer of ``module`` with one element, float32 or int64, that begins with 0; `set` changes both.

    What is read is what the buffer holds: rounded to its type, and what a checkpoint brings when it is loaded.
    """

    def __init__(self, module: nn.Module, buffer: str):
        self.module, self.buffer = module, buffer
        self.value: float = 0  # as the buffers begin
        module.register_load_state_dict_post_hook(lambda module, _: self._read(module))

    @torch.no_grad()
    def set(self, value: float) -> None:
        """Give the buffer, and this copy, another value."""
        tensor = self.module.get_buffer(self.buffer)
        tensor.fill_(value)
        self.value = float(np.float32(value)) if tensor.is_floating_point() else int(value)

    def _read(self, module: nn.Module) -> None:
        self.value = module.get_buffer(self.buffer).cpu().numpy().item()
