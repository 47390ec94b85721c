"""Fine-tuning a whole network on labelled images: layer-wise rates, mixed and erased images, averaged weights.

What is random is drawn from (seed, step, rank), the crops from (seed, epoch, index): a resumed run goes on to the same
weights, with any number of loader processes.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import Mixup
from timm.data.random_erasing import RandomErasing
from timm.optim import param_groups_layer_decay
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from pretrain import backbones
from pretrain.optimisation import schedules
from runtime import distributed
from runtime.command_line import UserError
from transfer.classification import classifier, random_state
from transfer.classification.classifier import Classifier
from transfer.classification.settings import FineTuneSettings
from transfer.classification.trainer import Training


def pool(network: Any, name: str, pooling: str) -> None:
    """Let the network ``name`` give what ``pooling`` says. Raises UserError where its family does not have that.

    ``mean`` is MAE's global pool: the mean of the patch tokens, then a new norm; the last norm goes.
    """
    if pooling == "usual":
        return
    if "class-token" not in backbones.family_of(name).FEATURES:
        raise UserError(f"pooling={pooling} is for ViTs, and the weights are of {name}; give pooling=usual, or a ViT's")
    if pooling == "mean":
        network.norm, network.fc_norm = nn.Identity(), nn.LayerNorm(network.width, eps=1e-6)
        network.global_pool = "avg"


class Layers:
    """The parameters of a classifier as timm's layer-wise decay reads a network: by name, and with their layers.

    The layers are those of the backbone's family, the classifier comes last.
    """

    def __init__(self, network: Classifier, name: str, *, decay: float):
        self.network, self.family, self.decay = network, backbones.family_of(name), decay

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The backbone's under its own names."""
        yield from self.network.backbone.named_parameters()
        yield from ((f"head.{name}", parameter) for name, parameter in self.network.linear.named_parameters())

    def group_matcher(self, coarse: bool = False) -> Any:
        """The expressions of the layers. Raises UserError for a network of timm's that has none."""
        if self.family.LAYERS is not None:
            return self.family.LAYERS
        if self.decay == 1:
            return {"all": ""}
        own = getattr(self.network.backbone, "group_matcher", None)
        if own is None:
            raise UserError("timm names no layers of this network; give layer_decay=1")
        return own(coarse=coarse)


def optimizer(network: Classifier, name: str, settings: FineTuneSettings) -> torch.optim.AdamW:
    """AdamW over everything; each group has the share ``lr_scale`` of the rate, by its layer."""
    groups = param_groups_layer_decay(
        Layers(network, name, decay=settings.layer_decay),  # pyright: ignore[reportArgumentType]
        weight_decay=settings.weight_decay,
        no_weight_decay_list=without_decay(network),
        layer_decay=settings.layer_decay,
    )
    return torch.optim.AdamW(groups, lr=0.0)


def without_decay(network: Classifier) -> list[str]:
    """Names of the backbone's parameters that do not decay, besides vectors."""
    names: Callable = getattr(network.backbone, "no_weight_decay", list)
    return sorted(names())


def _mixing(settings: FineTuneSettings, classes: int) -> Mixup:
    return Mixup(
        mixup_alpha=settings.mixup,
        cutmix_alpha=settings.cutmix,
        prob=settings.mix_probability,
        switch_prob=settings.cutmix_share,
        label_smoothing=settings.label_smoothing,
        num_classes=classes,
    )


class FineTuning(Training):
    """As `Training`, of the whole network.

    Args:
        name: of the backbone.
        others: of `Training`.
    """

    settings: FineTuneSettings

    def __init__(
        self, network: Classifier, *others: Any, name: str, seed: int, settings: FineTuneSettings, **more: Any
    ):
        self.name, self.seed = name, seed
        classes, device = network.linear.out_features, next(network.parameters()).device
        self.average = ModelEmaV3(network, decay=settings.ema) if settings.ema else None
        self.erase = RandomErasing(settings.random_erasing, mode="pixel", device=str(device))
        self.mix = _mixing(settings, classes) if settings.mixup or settings.cutmix else None
        super().__init__(network, *others, settings=settings, **more)

    def _optimizer(self) -> torch.optim.Optimizer:
        return optimizer(self.network, self.name, self.settings)

    @property
    def evaluated(self) -> Classifier:
        return self.average.module if self.average else self.network  # pyright: ignore[reportReturnType]

    @property
    def rate(self) -> float:
        return max(group["lr"] for group in self.optimizer.param_groups)

    def _set_rates(self) -> None:
        """The rate of the last layer rises from 0 over the warm-up, then follows half a cosine to ``min_lr``."""
        how = self.settings
        peak, ends = classifier.peak(how.lr, how), {"epochs": how.epochs, "end": how.min_lr}
        done = self.step / self.per_epoch
        rate = schedules.warmup_cosine_of_epochs(done, peak=peak, warmup=how.warmup_epochs, **ends)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]

    def _gradients(self, inputs: Tensor, labels: Tensor) -> Tensor:
        parts = self.settings.accumulate
        total = torch.zeros((), device=self.device)
        with random_state.drawn_from(self.seed, self.step, distributed.rank()):
            images, targets = self._augmented(inputs, labels)
            for number, (part, of_part) in enumerate(zip(images.chunk(parts), targets.chunk(parts), strict=True)):
                with self._without_sum() if number < parts - 1 else contextlib.nullcontext():
                    loss = self._loss(self.parallel(part), of_part) / parts
                    loss.backward()
                total += loss.detach()
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        return total

    def _augmented(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Erased and mixed images, (b, 3, H, W), and their targets: (b,), or (b, K) where they are mixed."""
        images = self.network.prepare(inputs)
        if self.settings.random_erasing:
            images = self.erase(images)
        return self.mix(images, labels) if self.mix else (images, labels)

    def _loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy with soft targets, which the mixing has smoothed already, or with labels."""
        return F.cross_entropy(scores, targets, label_smoothing=0.0 if self.mix else self.settings.label_smoothing)

    def _without_sum(self) -> Any:
        """Keep gradients on their rank for now."""
        return self.parallel.no_sync() if self.parallel is not self.network else contextlib.nullcontext()  # pyright: ignore[reportCallIssue]

    def _train_step(self, inputs: Tensor, labels: Tensor) -> float:
        value = super()._train_step(inputs, labels)
        if self.average:
            self.average.update(self.network)
        return value
