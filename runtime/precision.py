"""Mixed precision is bfloat16: the range of float32, so that no loss needs scaling."""

import torch

from runtime.command_line import UserError, one_of

NAMES = ("bf16", "fp32")


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse what is neither, and bf16 on a GPU that only emulates it (before Ampere: V100, T4) and is slower with it.

    Raises UserError that names the GPU.
    """
    one_of("precision", precision, NAMES)
    if precision != "bf16" or device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return
    raise UserError(
        f"precision bf16, but {torch.cuda.get_device_name(device)} does not compute in bfloat16; use precision fp32"
    )
