"""The optimiser of a run, and the linear scaling rule for its learning rate."""

from dataclasses import dataclass

import torch
from torch import nn

NAMES = ("sgd", "adamw")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    name: str = "sgd"
    """sgd or adamw."""

    lr: float = 0.5
    """Base learning rate; the peak rate is lr x batch_size / 256 where scale_lr is on."""

    scale_lr: bool = True
    """Scale the base rate linearly with the global batch (Goyal et al., arXiv 1706.02677)."""

    momentum: float = 0.9
    """SGD's momentum; AdamW's first beta."""

    weight_decay: float = 1e-5
    """On every parameter, biases and norms included, as the released Matrix-SSL and MEC code do."""

    warmup_epochs: float = 10.0
    """Epochs over which the rate rises linearly from 0; a cosine to 0 follows, step by step."""


def build(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser over the trainable parameters; its rates are set at every step by `set_lr`.

    The parts of the model that it names in ``constant_lr`` form a group of their own, whose rate stays at the peak.
    """
    constant = tuple(f"{part}." for part in getattr(model, "constant_lr", ()))
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    held = [parameter for name, parameter in named if constant and name.startswith(constant)]
    rest = [parameter for name, parameter in named if not (constant and name.startswith(constant))]
    groups = [{"params": rest, "constant": False}, *([{"params": held, "constant": True}] if held else [])]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, lr=0.0, betas=(config.momentum, 0.999), weight_decay=config.weight_decay)


def set_lr(optimizer: torch.optim.Optimizer, lr: float, *, peak: float) -> None:
    """Give every group the rate of this step; the groups held constant get the peak."""
    for group in optimizer.param_groups:
        group["lr"] = peak if group["constant"] else lr


def peak_lr(config: OptimConfig, batch_size: int) -> float:
    """The learning rate at the end of the warm-up for a global batch."""
    return config.lr * batch_size / 256 if config.scale_lr else config.lr
