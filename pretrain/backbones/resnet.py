"""ResNets (arXiv 1512.03385), wide ones (1605.07146) and ResNeXts (1611.05431), as torchvision names their tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.command_line import UserError, one_of, shortened

if TYPE_CHECKING:
    from torch import Tensor
    from torchvision.models.resnet import ResNet

    from pretrain.config import BackboneConfig
    from pretrain.networks.backbone import Backbone

TITLE = "ResNet"
SIGN = re.compile(r"^(conv1|bn1|layer[1-4])\.")
WHOLE = re.compile(r"layer4\.\d\.conv[23]\.weight$")
REFERENCE = "torchvision"
STEMS = ("imagenet", "cifar")
FEATURES = ("pooled",)
LAYERS = {"stem": r"^(?:conv1|bn1)\.", "blocks": r"^layer(\d)\.(\d+)\."}


@dataclass(frozen=True)
class Architecture:
    """A ResNet as torchvision describes one; without arguments it is ResNet-50."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    """Residual blocks in layer1 to layer4."""
    bottleneck: bool = True
    width: int = 64
    """Channels of each group of the 3x3 convolutions in layer1 (bottlenecks only)."""
    groups: int = 1

    @property
    def depth(self) -> int:
        """50 for ResNet-50; 0 where no usual ResNet has these blocks."""
        return DEPTHS.get((self.bottleneck, self.blocks), 0)

    @property
    def name(self) -> str:
        """torchvision's name: ``resnet50``, ``wide_resnet50_2``, ``resnext50_32x4d``."""
        if self.groups > 1:
            return f"resnext{self.depth}_{self.groups}x{self.width}d"
        return f"resnet{self.depth}" if self.width == 64 else f"wide_resnet{self.depth}_{self.width / 64:g}"


DEPTHS: dict[tuple[bool, tuple[int, ...]], int] = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
    (True, (3, 24, 36, 3)): 200,
}
"""Whether the blocks are bottlenecks, and how many stand in layer1 to layer4 -> depth."""

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture((2, 2, 2, 2), bottleneck=False),
        Architecture((3, 4, 6, 3), bottleneck=False),
        Architecture(),
        Architecture((3, 4, 23, 3)),
        Architecture((3, 8, 36, 3)),
        Architecture(width=128),
        Architecture((3, 4, 23, 3), width=128),
        Architecture(width=4, groups=32),
    )
}

NAMES = tuple(ARCHITECTURES)


def knows(name: str) -> bool:
    """Whether this module builds the backbone of a name."""
    return name in ARCHITECTURES


def fault(settings: "BackboneConfig", sides: tuple[int, ...]) -> str | None:
    """Any side will do; what a ResNet does not have is refused."""
    del sides
    if odd := settings.changed("registers", "layer_scale", "drop_path", "fixed_patch_projection"):
        return f"a ResNet has no backbone.{odd[0]}; leave it out, or name a ViT"
    return None


def build(settings: "BackboneConfig", *, side: int) -> "Backbone":
    """A fresh network. ``stem`` and ``zero_init_residual`` as `resnet` has them."""
    del side
    name, stem = settings.name, settings.stem
    return resnet(ARCHITECTURES[name], stem=stem, zero_init_residual=settings.zero_init_residual)  # pyright: ignore[reportReturnType]


def rebuilt(state: Mapping[str, "Tensor"], told: Mapping[str, Any], seen: Mapping[str, Any]) -> "Backbone":
    """The ResNet that the tensors are of. Raises UserError where they are of none, and for a drop path."""
    if told.get("drop_path"):
        raise UserError("a ResNet has no drop_path; give drop_path=0")
    stem = "cifar" if (first := state.get("conv1.weight")) is not None and first.shape[-1] == 3 else "imagenet"
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    try:
        network: Any = resnet(architecture_of(shapes), stem=stem, stride_in_1x1=bool(seen.get("stride_in_1x1")))
        network.load_state_dict(state)
    except (RuntimeError, ValueError, IndexError) as error:
        raise UserError(f"it is not a ResNet: {shortened(' '.join(str(error).split()), 200)}") from error
    return network.eval()


def resnet(
    architecture: Architecture = Architecture(),  # noqa: B008  (frozen)
    *,
    stem: str = "imagenet",
    zero_init_residual: bool = True,
    stride_in_1x1: bool = False,
) -> "ResNet":
    """A ResNet with torchvision's parameter names; images (B, 3, H, W) -> features (B, ``width``).

    Args:
        stem: ``imagenet`` (7x7 stride 2, max-pool) or ``cifar`` (3x3 stride 1, no pool: SimCLR, appendix B.9).
            A CIFAR stem cannot be transferred to Detectron2.
        zero_init_residual: start every residual branch at zero, as the released Matrix-SSL, MEC and SimSiam code do.
        stride_in_1x1: a stage's stride in its first 1x1 convolution, as Caffe's networks have it.
    """
    from torch import nn
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

    one_of("stem", stem, STEMS)
    network = ResNet(
        Bottleneck if architecture.bottleneck else BasicBlock,
        list(architecture.blocks),
        zero_init_residual=zero_init_residual,
        groups=architecture.groups,
        width_per_group=architecture.width,
    )
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
    """Move the stride of each stage to its first 1x1 convolution, as Caffe's networks have it.

    Raises ValueError for basic blocks, which have no 1x1 convolution.
    """
    for block in (network.layer2[0], network.layer3[0], network.layer4[0]):
        if not hasattr(block, "conv3"):
            raise ValueError("basic blocks have no 1x1 convolution for a stride (stride_in_1x1)")
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def stages(network: "ResNet", images: "Tensor") -> dict[str, "Tensor"]:
    """The output of the stem and of each residual stage, under Detectron2's names for them."""
    outputs = {"stem": network.maxpool(network.relu(network.bn1(network.conv1(images))))}
    for i, layer in enumerate((network.layer1, network.layer2, network.layer3, network.layer4), start=2):
        outputs[f"res{i}"] = layer(list(outputs.values())[-1])
    return outputs


def architecture_of(shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    """The architecture that the shapes are of, as far as blocks and the first stage tell it."""
    bottleneck = any(".conv3." in name for name in shapes)
    middle = shapes.get("layer1.0.conv2.weight", (64, 64))
    channels = middle[0]
    groups = max(1, channels // middle[1]) if bottleneck and len(middle) > 1 and middle[1] else 1
    return Architecture(blocks_of(shapes), bottleneck, channels // groups if bottleneck else 64, groups)


def blocks_of(shapes: Mapping[str, Any]) -> tuple[int, ...]:
    """How many residual blocks layer1 to layer4 have, from the names."""
    return tuple(
        len({name.split(".")[1] for name in shapes if re.match(rf"layer{stage}\.\d+\.", name)}) for stage in range(1, 5)
    )
