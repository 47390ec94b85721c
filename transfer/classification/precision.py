"""Mixed precision of the probes is bfloat16: the range of float32, so that no loss needs scaling."""

import torch

from pretrain.command_line import UserError


def check(precision: str, device: torch.device) -> None:
    """Refuse bf16 on a GPU that only emulates it (before Ampere: V100, T4), where it is slower than float32.

    Raises UserError that names the GPU.
    """
    if precision != "bf16" or device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return
    raise UserError(
        f"precision bf16, but {torch.cuda.get_device_name(device)} does not compute in bfloat16; use precision fp32"
    )
