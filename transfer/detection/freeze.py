"""A trunk whose weights stay as they were pretrained, while its norms follow the batch."""

import torch
from torch import nn


def freeze_trunk(model: nn.Module) -> None:
    """Freeze the ResNet under ``model.backbone``: no parameter learns, and its forward pass keeps no graph.

    The norms stay in training mode, so they use the statistics of each batch and keep their running averages. That is
    what makes a random trunk, whose stored statistics mean nothing, and a pretrained one comparable. Their affine
    parameters are frozen too: training them would need the gradient through the whole trunk, which costs as much as
    training it.
    """
    trunk = getattr(model.backbone, "bottom_up", model.backbone)
    for parameter in trunk.parameters():
        parameter.requires_grad_(False)
    trunk.forward = torch.no_grad()(trunk.forward)
