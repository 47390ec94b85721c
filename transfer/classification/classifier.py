"""A linear classifier on a backbone: the network, its optimiser, its learning rates."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.networks import batch_norm
from pretrain.optimisation import schedules
from transfer.classification.settings import Settings, TrainingSettings

AT_ONCE = 256
"""Images a frozen backbone sees in one forward pass. Its norms do not look at the batch, so this is memory only: on
one GPU a batch of 16384 needs no more than its pixels and its features."""


class Classifier(nn.Module):
    """Backbone, batch norm without affine part where the protocol has one, linear layer.

    A frozen backbone stays in eval mode and keeps no gradients, whatever mode the rest is in.
    """

    def __init__(
        self,
        backbone: nn.Module,
        width: int,
        classes: int,
        settings: TrainingSettings,
        *,
        seed: int,
        prepare: Callable[[Tensor], Tensor] = lambda images: images,
    ):
        """``width``: of the backbone's features. ``prepare``: images to the backbone's input."""
        super().__init__()
        self.prepare = prepare
        self.frozen, self.in_bf16 = settings.frozen, settings.precision == "bf16"
        self.backbone = backbone.requires_grad_(not self.frozen)
        # eps as in the Matrix-SSL, MEC and MAE codes
        self.norm: nn.Module = nn.BatchNorm1d(width, affine=False, eps=1e-6) if settings.batch_norm else nn.Identity()
        self.linear = nn.Linear(width, classes)
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.linear.weight, std=settings.head_std, generator=generator)
        nn.init.zeros_(self.linear.bias)
        self.train()

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Images (B, 3, H, W), or features (B, d) where the backbone is the identity -> (B, K)."""
        return self.linear(self.norm(self.features(inputs)))

    def features(self, inputs: Tensor) -> Tensor:
        """What the backbone gives, (B, d)."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.in_bf16):
            if self.frozen:
                with torch.no_grad():
                    parts = [self.backbone(self.prepare(part)) for part in inputs.split(AT_ONCE)]
                features = torch.cat(parts)
            else:
                features = self.backbone(self.prepare(inputs))
        return features.float() if self.in_bf16 else features

    def trained(self) -> dict[str, Tensor]:
        """The part of the state that training changes: everything, or all but the frozen backbone."""
        state = self.state_dict()
        return {key: value for key, value in state.items() if not (self.frozen and key.startswith("backbone."))}

    def restore(self, trained: dict[str, Tensor]) -> None:
        """Put `trained` back."""
        self.load_state_dict({**self.state_dict(), **trained})


def synchronise(network: Classifier, device: torch.device) -> Classifier:
    """Let the norms that see batches see the global one, so that the result does not depend on how many share it."""
    if not network.frozen:
        batch_norm.synchronise(network, device)  # in place: the network itself is no norm
        return network
    network.norm = batch_norm.synchronise(network.norm, device)
    return network


def peak(lr: float, settings: TrainingSettings) -> float:
    """The first epoch's rate: ``lr``, or lr x batch_size / 256 (0.03 -> 0.48 for 4096)."""
    return lr * settings.batch_size / 256 if settings.scale_lr else lr


def optimizer(network: Classifier, settings: Settings) -> torch.optim.Optimizer:
    """The optimiser over what is trained. Each group keeps its highest rate under ``peak``; `set_rates` sets the
    rate."""
    groups = _groups(network.linear, settings.lr, settings)
    groups += [] if network.frozen else _groups(network.backbone, settings.lr_backbone, settings)
    shared: dict[str, Any] = {"momentum": settings.momentum, "weight_decay": settings.weight_decay}
    if settings.optimizer == "lars":
        from timm.optim.lars import Lars  # timm takes seconds to import

        # always_adapt: without weight decay timm's Lars would be plain SGD. The bias is adapted too, as by apex's LARC,
        # if not excluded; while it is zero it moves by the plain rate.
        return Lars(groups, lr=0.0, trust_coeff=settings.trust, always_adapt=True, **shared)
    return torch.optim.SGD(groups, lr=0.0, nesterov=settings.optimizer == "nesterov", **shared)


def _groups(module: nn.Module, lr: float, settings: Settings) -> list[dict[str, Any]]:
    """The parameters of a part; vectors by themselves where they are excluded from decay and adaptation."""
    rate, parameters = {"peak": peak(lr, settings)}, list(module.parameters())
    if not settings.exclude_1d:
        return [{"params": parameters, **rate}]
    vectors = {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "always_adapt": False, **rate}
    return [{"params": [p for p in parameters if p.ndim > 1], **rate}, vectors]


def factor(done: float, settings: Settings) -> float:
    """The rates after ``done`` epochs as a share of the peak: with a warm-up they change at every step, without one
    between epochs only."""
    if warmup := settings.warmup_epochs:
        return schedules.warmup_cosine_of_epochs(done, peak=1.0, warmup=warmup, epochs=settings.epochs)
    epoch = int(done)
    if settings.schedule == "cosine":
        return schedules.cosine(epoch / settings.epochs, start=1.0, end=0.0)
    if settings.schedule == "steps":
        return settings.decay ** sum(epoch >= milestone for milestone in settings.milestones)
    return 1.0


def set_rates(optimizer: torch.optim.Optimizer, done: float, settings: Settings) -> None:
    """Give every group its rate after ``done`` epochs."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor(done, settings)
