"""A network compiled into one graph by torch.compile: fewer and larger kernels, on a GPU and on a CPU."""

import os
import shutil
from typing import Any

import torch
from torch import nn

from runtime import distributed
from runtime.command_line import UserError


def check(device: torch.device) -> None:
    """Raise UserError where a network cannot be compiled, with the reason."""
    if (world := distributed.world_size()) > 1:
        raise UserError(
            f"compile=true, but the run has {world} processes: batch normalisation over them breaks the graph; "
            f"use one process, or compile=false"
        )
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise UserError("compile=true, but there is no Triton for this GPU; install it, or use compile=false")
        return
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        raise UserError(
            f"compile=true on a CPU needs a C++ compiler, found no {compiler}; install it, or use compile=false"
        )


class Compiled:
    """What ``module`` is when it is called; parameters, buffers and all else stay the module's.

    Raises UserError at the first call of a network that is not one graph.
    """

    def __init__(self, module: nn.Module, *, backend: str = "inductor"):
        from torch._dynamo.exc import TorchDynamoException  # seconds, which other runs need not spend

        self.module, self.refusal = module, TorchDynamoException
        self.call = torch.compile(module, fullgraph=True, dynamic=False, backend=backend)

    def __call__(self, *inputs: Any) -> Any:
        try:
            return self.call(*inputs)
        except self.refusal as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UserError(
                f"compile=true, but this network is not one graph ({reason:.150}); use compile=false"
            ) from error
