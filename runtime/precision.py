"""Mixed precision is bfloat16: the range of float32, so that no loss needs scaling. ``auto``: where it is fast."""

import os
import sys

import torch

from runtime import distributed
from runtime.command_line import UserError, one_of

AUTO = "auto"
NAMES = (AUTO, "bf16", "fp32")

# oneDNN's names of instruction sets, up to which it may be told to go, without bfloat16 products; and without AMX.
WITHOUT_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
WITHOUT_AMX = {*WITHOUT_BF16, "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512"}


def chosen(precision: str, device: torch.device, *, begun: str | None = None) -> str:
    """What ``precision`` comes to: ``bf16`` or ``fp32``.

    ``auto`` is bf16 where the processors of all ranks compute fast in it, else fp32; a run that goes on keeps what it
    has ``begun`` with. Raises UserError as `check_precision` does. All ranks call this.
    """
    if precision == AUTO and begun in NAMES:
        precision = begun
        if begun == "bf16" and device.type == "cpu" and not is_fast_in_bf16(device) and distributed.is_main():
            print("note: the run began in bf16 and goes on in it; this processor is slow in it", file=sys.stderr)
    elif precision == AUTO:
        precision = "fp32" if distributed.any_rank(not is_fast_in_bf16(device), device) else "bf16"
    check_precision(precision, device)
    return precision


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse what is no name, and bf16 on a GPU that only emulates it (before Ampere: V100, T4) and is slower with it.

    Raises UserError that names the GPU.
    """
    one_of("precision", precision, NAMES)
    if precision == "bf16" and device.type == "cuda" and not is_fast_in_bf16(device):
        raise UserError(
            f"precision bf16, but {torch.cuda.get_device_name(device)} does not compute in bfloat16; use precision fp32"
        )


def is_fast_in_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 numbers faster than float32.

    A GPU from Ampere on; a CPU with AMX or AVX512_BF16, unless ONEDNN_MAX_CPU_ISA forbids it. A ResNet-50's step in
    bf16 takes 0.5 to 0.8 times the time of fp32 with AVX512_BF16 (images of 224 to 32 pixels), 1.2 to 1.4 times with
    plain AVX-512, and about 6 times with AVX2.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()
    amx = torch.cpu._is_amx_tile_supported() and limit not in WITHOUT_AMX
    return amx or (torch.cpu._is_avx512_bf16_supported() and limit not in WITHOUT_BF16)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a network computes in ``precision``."""
    if precision == AUTO:
        precision = chosen(precision, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
