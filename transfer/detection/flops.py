"""How much one image costs: parameters and multiply-adds, counted by fvcore, of the backbone and of a detector.

fvcore traces one forward pass in evaluation mode and counts a multiply and its add as one, as the field's tables do
(ResNet-50 at 224 pixels: 4.1 GFLOPs); norms, pooling and non-maximum suppression are not counted.
"""

import logging
import warnings
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from pretrain import backbones
from pretrain.config import BackboneConfig


@dataclass(frozen=True, kw_only=True)
class Count:
    """The size of a network and of one pass through it."""

    parameters: int
    gflops: float
    side: int
    """Of the square image, pixels."""


def backbone(name: str = backbones.USUAL, *, stem: str = "imagenet", side: int = 224) -> Count:
    """The network that is pretrained, without projector or predictor."""
    network = backbones.build(BackboneConfig(name=name, stem=stem), side=side)
    return count(network, torch.zeros(1, 3, side, side), side=side)


def detector(protocol: str, *, classes: int) -> Count:
    """The detector of a protocol at its test size, untrained, over the boxes that it then proposes in noise.

    Raises UserError for an unknown protocol.
    """
    from detectron2.modeling import build_model

    from transfer.detection import run_config

    cfg = run_config.read(protocol)
    cfg.MODEL.DEVICE, cfg.MODEL.ROI_HEADS.NUM_CLASSES = "cpu", classes
    side = cfg.INPUT.MIN_SIZE_TEST
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image = 255 * torch.rand(3, side, side)
        return count(build_model(cfg), [{"image": image}], side=side)


def count(network: nn.Module, inputs, *, side: int) -> Count:
    """Parameters and GFLOPs of one pass over ``inputs``: a batch of one image, or Detectron2's list of one."""
    from detectron2.utils.analysis import FlopCountAnalysis as OfDetector
    from fvcore.nn import FlopCountAnalysis

    kind = OfDetector if isinstance(inputs, list) else FlopCountAnalysis
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # it lists every operation that it does not count
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer, about shapes that it takes for constants
            total = kind(network.eval(), cast(Any, inputs)).total()
    finally:
        logging.disable(before)
    parameters = sum(p.numel() for p in network.parameters())
    return Count(parameters=parameters, gflops=total / 1e9, side=side)
