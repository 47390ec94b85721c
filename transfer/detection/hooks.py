"""What happens between the iterations of a fine-tuning run, besides Detectron2's own hooks."""

from pathlib import Path
from typing import Any, cast

import torch
from detectron2.engine import HookBase
from detectron2.utils.events import EventStorage
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn

from runtime import distributed
from runtime.progress import Progress
from runtime.stopping import RESUME_ME, Stopped, StopRequest
from transfer.detection.checkpointer import numbered


class SeedIteration(HookBase):
    """Makes chance inside the model (which proposals are sampled) a function of (seed, iteration, rank)."""

    trainer: Any

    def __init__(self, seed: int):
        self.seed = seed

    def before_step(self):
        # Mixed by large primes, as neighbouring seeds must not share streams at neighbouring iterations.
        torch.manual_seed(self.seed * 1_000_003 + self.trainer.iter * 8_191 + distributed.rank())


class PreciseBN(HookBase):
    """Before evaluation, replaces the norms' running statistics by averages over many batches, with fixed weights.

    Two things differ from Detectron2's hook of that name. It reads the same batches each time, so that a resumed run
    ends with the same statistics. And every rank gets those of the first: Detectron2 weighs by each rank's own pixel
    counts, which leaves every rank with different statistics.
    """

    trainer: Any

    def __init__(self, make_loader, *, iterations: int, period: int):
        self.make_loader, self.iterations, self.period = make_loader, iterations, period

    def after_step(self):
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or (self.period > 0 and done % self.period == 0):
            self.estimate(_unwrapped(self.trainer.model))

    def estimate(self, model: Any) -> None:
        """Set the statistics of all norms of ``model`` that are in training mode."""
        norms = get_bn_modules(model)
        in_backbone = set(get_bn_modules(model.backbone))
        # Where only the trunk has norms (FPN), the heads need not run.
        network = model if set(norms) - in_backbone else _BackboneAlone(model)
        with EventStorage():
            update_bn_stats(network, self.make_loader(), self.iterations)
        if distributed.world_size() > 1:
            for norm in cast(list[Any], norms):
                torch.distributed.broadcast(norm.running_mean, 0)
                torch.distributed.broadcast(norm.running_var, 0)


class _BackboneAlone(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model: Any = model

    def forward(self, inputs: list[dict]):
        return self.model.backbone(self.model.preprocess_image(inputs).tensor)


class Evaluate(HookBase):
    """Evaluates every ``period`` iterations, but not after the last: the final numbers come from the saved file."""

    trainer: Any

    def __init__(self, evaluate, *, period: int):
        self.evaluate, self.period = evaluate, period

    def after_step(self):
        done = self.trainer.iter + 1
        if self.period > 0 and done % self.period == 0 and done < self.trainer.max_iter:
            try:
                found = self.evaluate()
            except Stopped:  # the iteration is done; only this look at the model is lost
                self.trainer.checkpointer.save(f"model_{self.trainer.iter:07d}", iteration=self.trainer.iter)
                raise
            for task, figures in found.items():
                known = {f"{task}/{metric}": value for metric, value in figures.items() if value is not None}
                self.trainer.storage.put_scalars(**known, smoothing_hint=False)
            distributed.barrier()


class SaveCheckpoints(HookBase):
    """Saves every ``period`` iterations and at the end; the last ``kept`` of those for resuming stay."""

    trainer: Any

    def __init__(self, *, period: int, kept: int):
        self.period, self.kept = period, kept

    def after_step(self):
        iteration, checkpointer = self.trainer.iter, self.trainer.checkpointer
        if iteration + 1 == self.trainer.max_iter:  # that one alone: a kill between two files would leave no last one
            checkpointer.save("model_final", iteration=iteration)
        elif (iteration + 1) % self.period == 0:
            checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            for path in numbered(Path(checkpointer.save_dir))[: -self.kept]:
                path.unlink(missing_ok=True)


class ShowProgress(HookBase):
    """One line of progress with the total loss and the learning rate; the details go to the log file."""

    trainer: Any

    def before_train(self):
        start, total = self.trainer.start_iter, self.trainer.max_iter
        self.progress = Progress(total, "fine-tune", start=start, quiet=not distributed.is_main())

    def after_step(self):
        loss = self.trainer.losses.latest
        rate = max(group["lr"] for group in self.trainer.optimizer.param_groups)
        said = "" if loss is None else f"loss {loss:.3f}  "  # the first is still on its way from the GPU
        limit = self.trainer.data_loader.advice(setting="DATALOADER.NUM_WORKERS")
        self.progress.update(self.trainer.iter + 1, f"{said}lr {rate:.2g}", limit)


class StopOnSignal(HookBase):
    """Saves and stops after the iteration in which any rank was told to stop."""

    trainer: Any

    def __init__(self, stop: StopRequest, device: torch.device):
        self.stop, self.device = stop, device

    def after_step(self):
        asked = self.stop.signal is not None
        if distributed.any_rank(asked, self.device) and self.trainer.iter + 1 < self.trainer.max_iter:
            self.trainer.losses.gather()  # no checkpoint of a run that is lost
            self.trainer.checkpointer.save(f"model_{self.trainer.iter:07d}", iteration=self.trainer.iter)
            raise Stopped(self.stop.exit_code if asked else RESUME_ME)


def _unwrapped(model: Any) -> nn.Module:
    return model.module if hasattr(model, "module") else model
