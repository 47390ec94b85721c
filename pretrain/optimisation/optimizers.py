"""The optimiser of a run: which parameters decay, which learn at another rate, and how rates scale with the batch."""

import math
from typing import Any

import torch
from torch import nn

from pretrain.config import OptimConfig
from pretrain.optimisation import schedules


def build(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser over the trainable parameters; its rates are set at every step by `set_lr`.

    The parts of the model that it names in ``constant_lr`` keep the peak rate. Vectors and scalars (biases, norms) are
    excluded from decay and adaptation if the config says so.
    """
    constant = tuple(f"{part}." for part in getattr(model, "constant_lr", ()))
    groups: dict[tuple, dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        held, vector = bool(constant) and name.startswith(constant), parameter.ndim <= 1
        free, rate = vector and config.exclude_1d, config.bias_lr if vector else 1.0
        group = {"params": [], "constant": held, "rate": rate, "weight_decay": 0.0 if free else config.weight_decay}
        if config.name in ("lars", "larc"):
            group["always_adapt"] = not free
        groups.setdefault((held, free, rate), group)["params"].append(parameter)
    return _optimizer(list(groups.values()), config)


def _optimizer(groups: list[dict], config: OptimConfig) -> torch.optim.Optimizer:
    """timm divides by |g| + decay |w|, as apex does for SwAV, where SimCLR, BYOL, Barlow Twins and VICReg have
    |g + decay w|; and its momentum holds steps before the rate, where SimCLR's holds them after it."""
    if config.name == "sgd":
        # The fused step of a CPU needs four fifths of the time, and is the same to the last bit but in the remainder of
        # a tensor that does not fill its vectors of 16 numbers.
        parameters = [parameter for group in groups for parameter in group["params"]]
        fused = all(parameter.device.type == "cpu" and parameter.numel() % 16 == 0 for parameter in parameters)
        return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, fused=fused or None)
    if config.name in ("lars", "larc"):
        from timm.optim.lars import Lars  # timm takes seconds to import

        clip = config.name == "larc"
        options: dict[str, Any] = {"momentum": config.momentum, "trust_coeff": config.trust, "trust_clip": clip}
        return Lars(groups, lr=0.0, **options)
    return torch.optim.AdamW(groups, lr=0.0, betas=(config.momentum, config.beta2))


def set_lr(optimizer: torch.optim.Optimizer, lr: float, *, peak: float) -> None:
    """Give every group the rate of this step; the groups held constant get the peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * (peak if group["constant"] else lr)


def lr_at(step: int, config: OptimConfig, *, peak: float, warmup_steps: int, total_steps: int) -> float:
    """The learning rate of a step: warm-up, then cosine."""
    ends = {"start": config.warmup_start, "end": config.final_lr * peak}
    return schedules.warmup_cosine(step, peak=peak, warmup_steps=warmup_steps, total_steps=total_steps, **ends)


def peak_lr(config: OptimConfig, batch_size: int) -> float:
    """The learning rate at the end of the warm-up for a global batch."""
    factor = {"linear": batch_size / 256, "sqrt": math.sqrt(batch_size), "none": 1.0}
    return config.lr * factor[config.scale_lr]
