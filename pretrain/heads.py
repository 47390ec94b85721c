"""Projectors and predictors: every method's multilayer perceptron by one builder."""

from itertools import pairwise

from torch import nn


def mlp(*widths: int, last_norm: bool = False, last_bias: bool = True, hidden_bias: bool = False) -> nn.Sequential:
    """Linear layers of the given widths with BN and ReLU between them.

    Args:
        widths: input, hidden and output widths.
        last_norm: end in a BN without affine parameters (SimSiam's, Barlow Twins' and Matrix-SSL's projectors).
        last_bias: whether the last linear layer has a bias.
        hidden_bias: whether the layers before a BN have one; their BN would cancel it.
    """
    layers: list[nn.Module] = []
    for i, (width_in, width_out) in enumerate(pairwise(widths)):
        last = i == len(widths) - 2
        layers.append(nn.Linear(width_in, width_out, bias=last_bias if last else hidden_bias))
        if not last:
            layers += [nn.BatchNorm1d(width_out), nn.ReLU(inplace=True)]
        elif last_norm:
            layers.append(nn.BatchNorm1d(width_out, affine=False))
    return nn.Sequential(*layers)
