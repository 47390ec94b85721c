"""The trunk that is pretrained and handed over: torchvision's ResNet-50 without its classifier."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from runtime.command_line import one_of

STEMS = ("imagenet", "cifar")


def resnet50(*, stem: str = "imagenet", zero_init_residual: bool = True, stride_in_1x1: bool = False) -> ResNet:
    """ResNet-50 with torchvision's parameter names; images (B, 3, H, W) -> features (B, ``width``), width 2048.

    Args:
        stem: ``imagenet`` (7x7 stride 2, max-pool) or ``cifar`` (3x3 stride 1, no pool: SimCLR, appendix B.9).
            A CIFAR stem cannot be transferred to Detectron2.
        zero_init_residual: start every residual branch at zero, as the released Matrix-SSL, MEC and SimSiam code do.
        stride_in_1x1: a stage's stride in its first 1x1 convolution, as Caffe's networks have it.
    """
    one_of("stem", stem, STEMS)
    network = ResNet(Bottleneck, [3, 4, 6, 3], zero_init_residual=zero_init_residual)
    network.width = network.fc.in_features  # pyright: ignore[reportArgumentType]
    network.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    if stem == "cifar":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    if stride_in_1x1:
        move_strides(network)
    return network


def move_strides(network: Any) -> None:
    """Move the stride of each stage to its first 1x1 convolution, as Caffe's networks have it."""
    for block in (network.layer2[0], network.layer3[0], network.layer4[0]):
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def random_resnet50(seed: int) -> ResNet:
    """The untrained network of a seed: the from-scratch row of the classification probes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return resnet50(zero_init_residual=False)


def stages(network: ResNet, images: Tensor) -> dict[str, Tensor]:
    """The output of the stem and of each residual stage, under Detectron2's names for them."""
    outputs = {"stem": network.maxpool(network.relu(network.bn1(network.conv1(images))))}
    for i, layer in enumerate((network.layer1, network.layer2, network.layer3, network.layer4), start=2):
        outputs[f"res{i}"] = layer(list(outputs.values())[-1])
    return outputs
