"""The optimiser of a detector: Detectron2's SGD, or AdamW with the exceptions and layer decay of ViTDet, ConvNeXt."""

from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import get_vit_lr_decay_rate
from detectron2.solver import build_optimizer
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from torch import nn

from transfer.detection import network
from transfer.detection.timm_fpn import convnext_rates


def optimizer_of(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """TRANSFER.OPTIMIZER over the parameters of ``model`` that learn."""
    if cfg.TRANSFER.OPTIMIZER == "SGD":
        return build_optimizer(cfg, model)
    clipped: Any = maybe_add_gradient_clipping(cfg, torch.optim.AdamW)
    return clipped(parameter_groups(cfg, model), lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY)


def parameter_groups(cfg: CfgNode, model: nn.Module) -> list[dict[str, Any]]:
    """Parameters with their rate and decay, as torch's optimisers take them.

    The rate of block i of a ViT of n is TRANSFER.LAYER_DECAY ** (n - i) of SOLVER.BASE_LR, that of its patches and
    positions one power lower; a ConvNeXt's layers are those of `convnext_rates`.
    """
    solver, transfer = cfg.SOLVER, cfg.TRANSFER
    if network.FAMILIES.get(cfg.MODEL.BACKBONE.NAME) == network.VIT:
        decay = partial(get_vit_lr_decay_rate, lr_decay_rate=transfer.LAYER_DECAY, num_layers=transfer.VIT.DEPTH)
    else:
        decay = convnext_rates(transfer.LAYER_DECAY, [name for name, _ in model.named_parameters()])
    return get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        lr_factor_func=decay if transfer.LAYER_DECAY != 1 else None,
        overrides={name: {"weight_decay": 0.0} for name in transfer.UNDECAYED},
    )
