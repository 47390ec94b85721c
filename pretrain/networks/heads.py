"""Projectors and predictors: every method's multilayer perceptron by one builder."""

from itertools import pairwise

from torch import nn


def mlp(*widths: int, hidden_norm: bool = True, last_norm: bool = False, last_bias: bool = True) -> nn.Sequential:
    """Linear layers of the given widths, with BN and ReLU between them.

    Args:
        widths: input, hidden and output widths.
        hidden_norm: whether there is a BN before each ReLU (SimCLR's and MoCo v2's projectors have none). A layer
            before a BN has no bias, which the BN would cancel.
        last_norm: end in a BN without affine parameters (SimSiam's and Matrix-SSL's projectors).
        last_bias: whether the last linear layer has a bias.
    """
    layers: list[nn.Module] = []
    for i, (width_in, width_out) in enumerate(pairwise(widths)):
        last = i == len(widths) - 2
        layers.append(nn.Linear(width_in, width_out, bias=last_bias if last else not hidden_norm))
        if not last:
            layers += [*([nn.BatchNorm1d(width_out)] if hidden_norm else []), nn.ReLU(inplace=True)]
        elif last_norm:
            layers.append(nn.BatchNorm1d(width_out, affine=False))
    return nn.Sequential(*layers)
