"""What a method may ask of the backbone that it trains, whichever network that is."""

from torch import nn


class Backbone(nn.Module):
    """Images (B, 3, H, W) -> features (B, ``width``).

    The type that methods name; a network need not derive from it, torchvision's do not.
    """

    width: int
