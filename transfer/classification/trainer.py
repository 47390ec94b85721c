"""Training a classifier, epoch after epoch: interrupted at any moment, it goes on to the same weights."""

import math
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pretrain.checkpoints import checkpoint
from pretrain.monitoring.data_wait import DataClock
from runtime import distributed
from runtime.command_line import UserError
from runtime.progress import Progress
from runtime.stopping import Stopped, StopRequest
from transfer.classification import accuracy, classifier
from transfer.classification.batches import CropData, FeatureData, check_stop
from transfer.classification.classifier import Classifier
from transfer.classification.run_guard import CHECKPOINT, CHECKPOINTS
from transfer.classification.settings import TrainingSettings

FORMAT = "ssl-transfer-bench/probe/1"


class Training:
    """The state of a run: classifier, optimiser, steps done, what each epoch gave. Saved to ``checkpoint.pth``.

    Args:
        stop: of all runs of this process; None: of this one alone.
        file: name of the checkpoint.
    """

    def __init__(
        self,
        network: Classifier,
        data: CropData | FeatureData,
        settings: TrainingSettings,
        folder: Path,
        *,
        label: str,
        stop: StopRequest | None = None,
        file: str = CHECKPOINT,
    ):
        self.device = next(network.parameters()).device
        self.network, self.data, self.folder = network, data, folder
        self.settings: Any = settings  # of this class's kind, or of a subclass's
        self.network = classifier.synchronise(network, self.device)
        self.optimizer = self._optimizer()
        self.per_epoch = steps_per_epoch(data.count, settings)
        self.total = self.per_epoch * settings.epochs
        self.step, self.history, self.loss_sum = 0, [], 0.0
        self.file, self.stop, self.validated = folder / file, stop or StopRequest(), 0
        if self.file.exists():
            self._restore()
        self.parallel = self.network
        if distributed.world_size() > 1:
            # Buffers need no broadcast: norms are frozen or see the global batch.
            self.parallel = DistributedDataParallel(self.network, broadcast_buffers=False)
        self.progress = Progress(self.total, label, start=self.step, quiet=not distributed.is_main())

    def run(self) -> list[dict]:
        """Train to the end and return the epochs: ``epoch``, ``loss``, ``lr``, and the accuracies where it was
        evaluated. Raises Stopped, with everything saved, when a signal asks for it.
        """
        run_together([self])
        return self.history

    @property
    def place(self) -> tuple[int, int]:
        """How many training batches it has had, and how many of validation since."""
        return self.step, self.validated

    def batch_by_batch(self) -> Iterator[None]:
        """Train to the end, but pause after each batch, of training or validation."""
        if len(self.history) < self.step // self.per_epoch:
            yield from self._close_epoch()  # the interruption came while it was evaluated
        batches = self.data.training(start=self.step, total_steps=self.total)
        clock = DataClock(batches, images=self.settings.batch_size, workers=self.settings.workers)
        for inputs, labels in clock:
            loss = self._train_step(inputs, labels)
            self.progress.update(self.step, f"loss {loss:.3f}", clock.advice(setting="workers"))
            if self.step % self.per_epoch == 0:
                with clock.paused():
                    yield from self._close_epoch()
            if self.step < self.total:
                self._check_stop()
            yield

    def _optimizer(self) -> torch.optim.Optimizer:
        return classifier.optimizer(self.network, self.settings)

    def _train_step(self, inputs: Tensor, labels: Tensor) -> float:
        """One step; its loss over all ranks."""
        self._set_rates()
        self.optimizer.zero_grad(set_to_none=True)
        value = distributed.mean(self._gradients(inputs, labels)).item()
        if not math.isfinite(value):
            raise UserError(f"the loss is {value} at step {self.step + 1}; lower lr, or try precision=fp32")
        self.optimizer.step()
        self.step, self.loss_sum = self.step + 1, self.loss_sum + value
        return value

    def _set_rates(self) -> None:
        classifier.set_rates(self.optimizer, self.step / self.per_epoch, self.settings)

    def _gradients(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """The gradients of a batch; this rank's loss."""
        loss = F.cross_entropy(self.parallel(inputs), labels)
        loss.backward()
        return loss

    @property
    def evaluated(self) -> Classifier:
        """The network that is evaluated, and kept at the end."""
        return self.network

    @property
    def rate(self) -> float:
        """The classifier's learning rate."""
        return self.optimizer.param_groups[0]["lr"]

    def _close_epoch(self) -> Iterator[None]:
        """Evaluate where it is due, note the epoch, save."""
        epoch = self.step // self.per_epoch
        found = {"epoch": epoch, "loss": self.loss_sum / self.per_epoch, "lr": self.rate}
        if epoch % self.settings.evaluate_every == 0 or epoch == self.settings.epochs:
            found |= yield from self._evaluate()
        self.history, self.loss_sum = [*self.history, found], 0.0
        self.save()

    def _evaluate(self) -> Generator[None, None, dict[str, float]]:
        """The accuracies on the validation images, percent."""
        network = self.evaluated.eval()
        places = []
        for inputs, labels in self.data.validation():
            self._check_stop()
            with torch.no_grad():
                places.append(accuracy.places(network(inputs), labels))
            self.validated += 1
            yield
        self.validated = 0
        self.network.train()
        classes = self.network.linear.out_features
        return accuracy.percent(torch.cat(places), count=self.data.val_count, classes=classes)

    def _check_stop(self) -> None:
        """Every rank has as many steps and as many validation batches, so all meet in this vote."""
        check_stop(self.stop, self.device)

    def save(self) -> None:
        """Write the checkpoint (the first rank does)."""
        if not distributed.is_main():
            return
        state = {"network": self.network.trained(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        state |= {"history": self.history, "loss_sum": self.loss_sum}
        if self.evaluated is not self.network:
            state["evaluated"] = self.evaluated.trained()
        checkpoint.save(self.file, {"format": FORMAT, **state})

    def _restore(self) -> None:
        """Go on from the checkpoint. Raises UserError for one that is damaged, or no classifier's."""
        try:
            saved = checkpoint.read(self.file)
            if saved.get("format") != FORMAT:
                raise UserError("no checkpoint of a classifier")
            if "checksum" not in saved:
                raise UserError("no checksum, so damage would not be noticed")
            network, wanted = saved["network"], self.network.trained()
            if {key: value.shape for key, value in network.items()} != {key: v.shape for key, v in wanted.items()}:
                raise UserError("the weights of another network")
            self.optimizer.load_state_dict(saved["optimizer"])
            self.step, self.history = int(saved["step"]), list(saved["history"])
            self.loss_sum = float(saved["loss_sum"])
            averaged = saved["evaluated"] if self.evaluated is not self.network else None
        except (UserError, LookupError, TypeError, ValueError, AttributeError) as error:
            one = len(list(self.folder.glob(CHECKPOINTS))) == 1
            files = self.file if one else self.folder / CHECKPOINTS
            raise UserError(f"cannot resume; delete {files} to start over (damaged: {error})") from error
        self.network.restore(network)
        if averaged is not None:
            self.evaluated.restore(averaged)


def run_together(runs: Sequence[Training]) -> None:
    """Run all to their ends. The one that is behind goes next, so that runs on the same crops need each but once.

    Raises Stopped, with everything saved, when a signal asks for it.
    """
    left = {run: run.batch_by_batch() for run in runs}
    try:
        while left:
            run = min(left, key=lambda run: run.place)
            if next(left[run], left) is left:
                del left[run]
    except (Stopped, UserError) as error:
        for other in left:
            if other is not run or isinstance(error, Stopped):  # what has diverged keeps its last epoch
                other.save()
        raise


def steps_per_epoch(count: int, settings: TrainingSettings) -> int:
    """Full batches in ``count`` images. Raises UserError where batch, processes and images do not fit together."""
    world, batch = distributed.world_size(), settings.batch_size
    if batch % world:
        raise UserError(f"batch_size={batch} cannot be shared by {world} processes; give a multiple of {world}")
    if count < batch:
        raise UserError(f"batch_size={batch} is more than the {count} training images; lower it")
    return count // batch
