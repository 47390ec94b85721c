"""A run of fine-tuning: as any classifier's, with crops, network and training of its own."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from runtime import distributed
from runtime.command_line import UserError
from runtime.stopping import StopRequest
from transfer.backbones import frozen
from transfer.classification.batches import CropData, Crops
from transfer.classification.classifier_run import ClassifierRun
from transfer.classification.crops import AugmentedCrop
from transfer.classification.fine_tuning import FineTuning, pool
from transfer.classification.settings import FineTuneSettings
from transfer.classification.trainer import Training


class FineTuneRun(ClassifierRun):
    """One run of fine-tuning: a backbone, all labelled images, `FineTuneSettings`, a folder."""

    settings: FineTuneSettings

    def backbone(self) -> frozen.Backbone:
        """The network, with stochastic depth and the pooling of the settings. UserError where it cannot have them, or
        does not take images of their size."""
        settings = self.settings
        untrained = {"name": settings.network, "side": settings.size}
        trunk = frozen.load(self.weights, seed=self.seed, drop_path=settings.drop_path, **untrained)
        pool(trunk.network, trunk.about["backbone"], settings.pooling)
        patches: Any = getattr(trunk.network, "patch_embed", None)
        patch = getattr(patches, "patch_size", (1, 1))[0]
        if settings.size % patch:
            near = max(patch, round(settings.size / patch) * patch)
            why = f"size={settings.size} is no multiple of the patch of {patch} of {trunk.about['backbone']}"
            raise UserError(f"{why}; give size={near}")
        return replace(trunk, features="patches") if settings.pooling == "mean" else trunk

    def claim(self) -> bool:
        """As a classifier's; UserError too where a process's share of the batch cannot be parted or mixed."""
        settings = self.settings
        world, share = distributed.world_size(), settings.batch_size // distributed.world_size()
        of = f"batch_size={settings.batch_size} is {share} images for each of {world} processes"
        if share % settings.accumulate:
            raise UserError(f"{of}, no multiple of accumulate={settings.accumulate}")
        if share % 2 and (settings.mixup or settings.cutmix):
            raise UserError(f"{of}, and an odd number cannot be mixed; give another, or mixup=0 cutmix=0")
        return super().claim()

    def trainings(self, *, stop: StopRequest, cached: bool = False, crops: Crops | None = None) -> list[Training]:
        """The one training that is to be run."""
        del cached, crops
        settings, trunk = self.settings, self.trunk
        self.begin()

        def prepare(images: Tensor) -> Tensor:
            """Images of the loader; those of a training step have been prepared when they come to the network."""
            return trunk.inputs(images) if images.dtype == torch.uint8 else images

        augmented = AugmentedCrop(
            size=settings.size,
            min_scale=settings.min_scale,
            interpolation=settings.interpolation,
            augment=settings.augment,
            mean=trunk.mean[::-1] if trunk.order == "BGR" else trunk.mean,
        )
        made = Crops(self.train, self.val, settings, seed=self.seed, crop=augmented)
        data = CropData(self.train, self.val, settings, seed=self.seed, device=self.device, crops=made)
        network = self.classifier(trunk.network, settings, prepare=prepare)
        of = {"name": trunk.about["backbone"], "seed": self.seed, "settings": settings, "label": self.label}
        return [FineTuning(network, data, folder=self.out, stop=stop, **of)]
