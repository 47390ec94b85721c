"""One fine-tuning run: weights, a protocol and a data set in, a trained detector and result.json out."""

import gzip
import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from runtime import distributed, provenance, results
from runtime.command_line import UserError
from runtime.files import replacing, sha256, write_json, write_text
from runtime.stopping import StopRequest
from transfer.checkpoints import weights
from transfer.datasets import validate_coco
from transfer.datasets.benchmarks import Paths
from transfer.detection import run_config
from transfer.detection.inference import predict
from transfer.detection.launch import main_first
from transfer.detection.run_guard import claim, identity
from transfer.detection.scaling import described
from transfer.detection.trainer import Trainer
from transfer.metrics import error_plot, ground_truth, pictures, scorers

RANDOM = "random"
"""In place of a weights file: the row from scratch."""


class Diverged(UserError):
    """The loss became infinite or no number."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is asked to do."""

    protocol: str
    overrides: list[str]
    """KEY VALUE KEY VALUE ...: Detectron2 settings that differ from the protocol's."""
    paths: Paths
    weights: str
    """A converted file, or ``random``."""
    out: Path
    seed: int
    device: torch.device
    scale: int = 1
    """How many times smaller than the protocol's the batch is."""
    base_lr: float | None = None
    """In place of the protocol's learning rate."""
    label: str = ""
    """The protocol's name in the records, where it is not ``protocol``."""
    result: str = "result.json"


class Run:
    """One fine-tuning run, from its plan to its result."""

    def __init__(self, plan: Plan, *, stop: StopRequest):
        self.plan, self.out, self.stop = plan, plan.out, stop
        self.cfg = run_config.load(plan.protocol, plan.overrides, base_lr=plan.base_lr, scale=plan.scale)
        self.protocol_says = described(run_config.load(plan.protocol, []))
        self.weights = {} if plan.weights == RANDOM else weights.read(plan.weights)
        self.about = self.weights.get(weights.ABOUT, {})
        self.weights_sha256 = sha256(plan.weights) if self.weights else ""
        self.errors: dict = {}
        self.changed = run_config.changed(plan.protocol, self.cfg, base_lr=plan.base_lr, scale=plan.scale)
        run_config.apply_input(self.cfg, self.about, plan.overrides)
        if not 0 <= plan.seed < 2**31:
            raise UserError(f"--seed must lie in 0 .. {2**31 - 1}, got {plan.seed}")

    def prepare(self) -> None:
        """Check the data and take the folder."""
        paths = self.plan.paths
        summary = validate_coco.check(paths.train, evaluated=False)
        self.val = validate_coco.check(paths.val, evaluated=True)
        if summary.categories != self.val.categories:
            raise UserError(f"{paths.train.json} and {paths.val.json} have different categories")
        scored = scorers.TASKS[ground_truth.read(paths.val.json).metric]
        if not set(run_config.tasks(self.cfg)) & set(scored):
            raise UserError(
                f"benchmark {paths.name} is scored on {', '.join(scored)}, which protocol {self.plan.protocol} does "
                f"not predict; take another protocol"
            )
        run_config.resolve(
            self.cfg,
            paths,
            summary,
            out=self.out,
            seed=self.plan.seed,
            weights=self.plan.weights if self.weights else "",
            world_size=distributed.world_size(),
            device=self.plan.device.type,
        )
        main_first(self._claim)

    def _claim(self) -> None:
        if distributed.is_main():
            sha = self.weights_sha256
            now = identity(self.cfg, protocol=self.plan.protocol, benchmark=self.plan.paths, weights_sha256=sha)
            claim(self.out, now)
            write_text(self.out / "config.yaml", self.cfg.dump())

    @property
    def complete(self) -> bool:
        return (self.out / self.plan.result).exists()

    def execute(self, *, eval_only: bool = False) -> None:
        """Train to the end, from the last checkpoint if there is one, evaluate what was saved, write the result."""
        began = time.monotonic()
        if distributed.is_main():
            self._announce()
        if not eval_only:
            self.train()
        figures = self.evaluate()
        if distributed.is_main():
            self.write_result(figures, wall_s=time.monotonic() - began)
            report(figures)
            print(self.out / self.plan.result)
        distributed.barrier()

    def _announce(self) -> None:
        if self.weights and not self.about:
            print(
                f"note: {self.plan.weights} does not say what input it needs; the protocol's is used", file=sys.stderr
            )
        if self.plan.scale > 1:
            print(f"scale {self.plan.scale}: {described(self.cfg)} (protocol: {self.protocol_says})", file=sys.stderr)

    def train(self) -> None:
        """Train to the end. Raises ``Stopped`` after a signal and ``Diverged`` when the loss is lost."""
        setup_logger.cache_clear()
        for name in ("detectron2", "fvcore"):
            logging.getLogger(name).handlers.clear()  # those of the run before it in a search
            setup_logger(str(self.out), distributed.rank(), name=name, configure_stdout=False)
        seed_all_rng(self.cfg.SEED)
        trainer = Trainer(self.cfg, evaluate=lambda: self.score(trainer.checkpointer.model)[0], stop=self.stop)
        if not trainer.resume() and self.weights:
            proof = trainer.load_pretrained(self.weights["model"])
            if distributed.is_main():
                write_json(self.out / "loaded.json", {"arrived": proof.arrived, "extras": proof.extras})
        try:
            trainer.train()
        except FloatingPointError as error:
            reason = " ".join(str(error).split())
            raise Diverged(f"fine-tuning diverged ({reason}); lower SOLVER.BASE_LR or warm up longer") from error

    def score(self, model: torch.nn.Module) -> tuple[dict, list[dict]]:
        """The data set's figures and the predictions, on the main process; empty on the others."""
        loader = Trainer.build_test_loader(self.cfg, self.cfg.DATASETS.TEST[0])
        predictions = predict(model, loader, category_ids=list(self.val.categories), stop=self.stop)
        if not distributed.is_main():
            return {}, []
        tasks, engine = run_config.tasks(self.cfg), self.cfg.TRANSFER.EVALUATION_ENGINE
        return scorers.score(self.plan.paths.val.json, predictions, tasks=tasks, engine=engine), predictions

    def evaluate(self) -> dict:
        """Evaluate the saved model_final.pth: one source of statistics for every process, and for every later look."""
        path = self.out / "model_final.pth"
        if not path.exists():
            raise UserError(f"{path} does not exist; train first, without --eval-only")
        model = Trainer.build_model(self.cfg)
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
        model.load_state_dict(state)
        figures, predictions = self.score(model)
        if distributed.is_main():
            with replacing(self.out / "predictions.json.gz") as temporary, gzip.open(temporary, "wt") as file:
                json.dump(predictions, file)
            if count := self.cfg.TRANSFER.PICTURES:
                pictures.draw(self.out / "predictions.png", self.plan.paths.val, predictions, count=count)
            self.errors = scorers.errors(self.plan.paths.val.json, predictions, tasks=run_config.tasks(self.cfg))
            if self.errors:
                error_plot.draw(self.out / "errors.png", self.errors)
        return figures

    def write_result(self, figures: dict, *, wall_s: float) -> None:
        """Write the result; last of all files, so that its presence means the run is complete."""
        origin = {"method": Path(self.plan.weights).stem, "recipe": "", "variant": "", "epochs": 0, **self.about}
        records = results.flatten(
            figures,
            **{key: origin[key] for key in ("method", "recipe", "variant", "epochs")},
            benchmark=self.plan.paths.name,
            protocol=self.plan.label or self.plan.protocol,
            seed=self.plan.seed,
            commit=provenance.commit(),
            weights_sha256=self.weights_sha256,
            n=self.val.images,
        )
        results.write(
            self.out / self.plan.result, records, weights=self.about, **self._context(), wall_s=round(wall_s, 1)
        )
        for path in self.out.glob("model_[0-9]*.pth"):  # what only a resumption would need
            path.unlink()

    def _context(self) -> dict:
        cfg = self.cfg
        half = "bfloat16" if cfg.MODEL.DEVICE == "cpu" else "float16"
        return {
            "protocol_version": cfg.TRANSFER.VERSION,
            "scale": self.plan.scale,
            "schedule": described(cfg),
            "changed_from_protocol": self.changed,
            "metric": ground_truth.read(self.plan.paths.val.json).metric,
            "errors": self.errors,
            "norm": cfg.MODEL.RESNETS.NORM,
            "amp": cfg.SOLVER.AMP.ENABLED,
            "precision": half if cfg.SOLVER.AMP.ENABLED else "float32",
            "checkpoint_activations": cfg.TRANSFER.CHECKPOINT_ACTIVATIONS,
            "device": cfg.MODEL.DEVICE,
            "processes": distributed.world_size(),
            "engine": cfg.TRANSFER.EVALUATION_ENGINE,
            "torch": torch.__version__,
            "config_sha256": sha256(self.out / "config.yaml"),
        }


def report(figures: dict) -> None:
    """One line a task."""
    for task, values in figures.items():
        known = [(name, values.get(name)) for name in ("AP50", "AP", "AP75")]
        print(f"{task}  " + "  ".join(f"{name} {value:.1f}" for name, value in known if value is not None))
