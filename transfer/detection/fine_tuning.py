"""One fine-tuning run: weights, a protocol and a data set in, a trained detector and result.json out."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from pretrain.checkpoints import checkpoint
from runtime import distributed, provenance, results, run_guard
from runtime.command_line import UserError
from runtime.files import sha256, write_json, write_text
from runtime.precision import AUTO, chosen
from runtime.stopping import StopRequest
from transfer.backbones import RANDOM
from transfer.checkpoints import weights
from transfer.datasets import benchmarks, validate_coco
from transfer.datasets.benchmarks import Paths
from transfer.detection import network, run_config, settings
from transfer.detection.checkpointer import FINAL, newest_first, numbered
from transfer.detection.evaluation import predict, write_predictions
from transfer.detection.launch import join, main_first
from transfer.detection.scaling import described
from transfer.detection.trainer import Trainer
from transfer.metrics import error_plot, ground_truth, pictures, scorers
from transfer.metrics.coco_results import CocoResults

MIXED = "SOLVER.AMP.ENABLED"


class Diverged(UserError):
    """The loss became infinite or no number."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What a run is asked to do."""

    protocol: str
    overrides: Mapping[str, Any]
    """Detectron2 settings that differ from the protocol's: key -> value."""
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


def specs(
    runs: Iterable[tuple[int, Path]],
    *,
    protocol: str,
    overrides: Mapping[str, Any],
    benchmark: str,
    data: str | None,
    paths: dict[str, str | None],
    weights: str,
    scale: int,
) -> Iterator[RunSpec]:
    """The specification of each run (seed, folder), with the other processes joined and the data set located.

    Args:
        data: the benchmark's folder, where it is not in its usual place.
        paths: of a data set without a name: train_json, train_images, val_json, val_images.
    """
    device = join(run_config.load(protocol, overrides, scale=scale).MODEL.DEVICE)
    located = main_first(lambda: benchmarks.locate(benchmark, root=data, paths=paths))
    for seed, out in runs:
        yield RunSpec(
            protocol=protocol,
            overrides=overrides,
            paths=located,
            weights=weights,
            out=out,
            seed=seed,
            device=device,
            scale=scale,
        )


def complete(run: "Run", *, eval_only: bool = False) -> None:
    """Prepare a run and bring it to its end, whatever of it is done."""
    run.prepare()
    finish(run, eval_only=eval_only)


def finish(run: "Run", *, eval_only: bool = False) -> None:
    """Bring a prepared run to its end; of a complete one only the files are tidied up."""
    if run.is_complete and not eval_only:
        if distributed.is_main():
            run.tidy()
            print(f"complete: {run.out / run.spec.result}")
    else:
        run.execute(eval_only=eval_only)


class Run:
    """One fine-tuning run, from its plan to its result."""

    def __init__(self, spec: RunSpec, *, stop: StopRequest):
        self.spec, self.out, self.stop = spec, spec.out, stop
        self.cfg = run_config.load(spec.protocol, spec.overrides, base_lr=spec.base_lr, scale=spec.scale)
        self.protocol_says = described(run_config.load(spec.protocol))
        self.weights = {} if spec.weights == RANDOM else weights.read(spec.weights)
        self.about = self.weights.get(weights.ABOUT, {})
        self.weights_sha256 = sha256(spec.weights) if self.weights else ""
        self.errors: dict = {}
        self.changed = run_config.changed(spec.protocol, self.cfg, base_lr=spec.base_lr, scale=spec.scale)
        overrides = network.expanded(spec.overrides)
        run_config.apply_input(self.cfg, self.about, overrides)
        shapes = {name: array.shape for name, array in self.weights.get("model", {}).items()}
        found = network.of_weights(shapes, self.about, spec.weights)
        run_config.apply_network(self.cfg, found, overrides, protocol=spec.protocol, path=spec.weights)
        self.backbone = found.name if found else network.name(run_config.flatten(self.cfg))

    def prepare(self) -> None:
        """Check the data, to the evaluator's reader of the ground truth, and take the folder."""
        paths = self.spec.paths
        begun = (self.out / FINAL).exists() or bool(numbered(self.out))
        # Once a run, on one rank: reading the header of every image takes a while.
        summary, self.val = main_first(
            lambda: validate_coco.check_both(paths, images=distributed.is_main() and not begun)
        )
        guard = run_guard.RunGuard(
            folder=self.out, outputs=("last_checkpoint", "*.pth", self.spec.result), recover=self._recorded
        )
        if self.cfg.TRANSFER.AUTO_PRECISION and MIXED not in self.spec.overrides:
            self.cfg.SOLVER.AMP.ENABLED = is_mixed(self.spec.device, begun=guard.began_with(f"settings.{MIXED}"))
        run_config.resolve(
            self.cfg,
            paths,
            summary,
            out=self.out,
            seed=self.spec.seed,
            weights=self.spec.weights if self.weights else "",
            world_size=distributed.world_size(),
            device=self.spec.device.type,
        )
        tasks, engine = run_config.tasks(self.cfg), self.cfg.TRANSFER.EVALUATION_ENGINE
        main_first(
            lambda: distributed.is_main() and scorers.check_ground_truth(paths.val.json, tasks=tasks, engine=engine)
        )
        main_first(lambda: distributed.is_main() and guard.claim(self.identity(), every_rank=False))
        if distributed.is_main():
            write_text(self.out / "config.yaml", self.cfg.dump())

    def identity(self) -> dict[str, Any]:
        """Everything that decides the outcome of the run, as plain values."""
        paths, values = self.spec.paths, run_config.flatten(self.cfg)
        decisive = {key: value for key, value in values.items() if key not in settings.INCIDENTAL}
        return {
            "protocol": self.spec.protocol,
            "benchmark": paths.name,
            "train_json_sha256": sha256(paths.train.json),
            "val_json_sha256": sha256(paths.val.json),
            "weights_sha256": self.weights_sha256,
            "settings": json.loads(json.dumps(decisive)),  # tuples become the lists that reading back gives
        }

    def _recorded(self) -> dict[str, Any] | None:
        """What the newest readable checkpoint says of the run that made it."""
        for path in newest_first(self.out):
            with contextlib.suppress(UserError):
                return checkpoint.read(path).get("run")
        return None

    @property
    def is_complete(self) -> bool:
        """Whether the result is there, whole and readable, as the main process finds it."""
        path = self.out / self.spec.result
        return bool(main_first(lambda: distributed.is_main() and results.is_whole(path), every_rank=False))

    def tidy(self) -> None:
        """Remove what only a resumption would need, also what a run killed at this moment left."""
        for path in numbered(self.out):
            path.unlink(missing_ok=True)

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
            print(self.out / self.spec.result)
        distributed.barrier()

    def _announce(self) -> None:
        if self.weights and not self.about:
            print(
                f"note: {self.spec.weights} does not say what input it needs; the protocol's is used", file=sys.stderr
            )
        if self.spec.scale > 1:
            print(f"scale {self.spec.scale}: {described(self.cfg)} (protocol: {self.protocol_says})", file=sys.stderr)

    def train(self) -> None:
        """Train to the end. Raises ``Stopped`` after a signal and ``Diverged`` when the loss is lost."""
        setup_logger.cache_clear()
        for name in ("detectron2", "fvcore"):
            logging.getLogger(name).handlers.clear()  # those of the run before it in a search
            setup_logger(str(self.out), distributed.rank(), name=name, configure_stdout=False)
        seed_all_rng(self.cfg.SEED)
        trainer = Trainer(
            self.cfg, evaluate=lambda: self._score_in_training(trainer.checkpointer.model), stop=self.stop
        )
        trainer.checkpointer.run = self.identity()
        if not trainer.resume() and self.weights:
            proof = trainer.load_pretrained(self.weights)
            if distributed.is_main():
                write_json(self.out / "loaded.json", {"arrived": proof.arrived, "extras": proof.extras})
        try:
            trainer.train()
        except FloatingPointError as error:
            reason = " ".join(str(error).split())
            raise Diverged(f"fine-tuning diverged ({reason}); lower SOLVER.BASE_LR or warm up longer") from error

    def predict(self, model: torch.nn.Module) -> CocoResults:
        """The predictions on the validation images, on the main process; empty on the others."""
        loader = Trainer.build_test_loader(self.cfg, self.cfg.DATASETS.TEST[0])
        found = predict(model, loader, category_ids=list(self.val.categories), stop=self.stop)
        return found if distributed.is_main() else CocoResults()

    def score(self, predictions: Sequence[dict]) -> dict[str, dict]:
        """The data set's figures for ``predictions``, ``{task: {metric: value}}``."""
        tasks, engine = run_config.tasks(self.cfg), self.cfg.TRANSFER.EVALUATION_ENGINE
        return scorers.score(self.spec.paths.val.json, predictions, tasks=tasks, engine=engine)

    def _score_in_training(self, model: torch.nn.Module) -> dict[str, dict]:
        predictions = self.predict(model)
        return self.score(predictions) if distributed.is_main() else {}

    def evaluate(self) -> dict:
        """Evaluate the saved model_final.pth: one source of statistics for every process, and for every later look."""
        path = self.out / FINAL
        if not path.exists():
            raise UserError(f"{path} does not exist; train first, without --eval-only")
        model = Trainer.build_model(self.cfg)
        model.load_state_dict(checkpoint.read(path)["model"])
        predictions = self.predict(model)
        if not distributed.is_main():
            return {}
        write_predictions(self.out / "predictions.json.gz", predictions)  # first: they are kept whatever follows
        if count := self.cfg.TRANSFER.PICTURES:
            pictures.draw(self.out / "predictions.png", self.spec.paths.val, predictions, count=count)
        truth, tasks = self.spec.paths.val.json, run_config.tasks(self.cfg)
        figures = self.score(predictions)
        self.errors = scorers.errors(truth, predictions, tasks=tasks)
        if self.errors:
            error_plot.draw(self.out / "errors.png", self.errors)
        return figures

    def write_result(self, figures: dict, *, wall_s: float) -> None:
        """Write the result; last of all files, so that its presence means the run is complete."""
        origin = {"method": Path(self.spec.weights).stem, "recipe": "", "variant": "", "epochs": 0, **self.about}
        records = results.flatten(
            figures,
            **{key: origin[key] for key in ("method", "recipe", "variant", "epochs")},
            benchmark=self.spec.paths.name,
            protocol=self.spec.label or self.spec.protocol,
            seed=self.spec.seed,
            commit=provenance.commit(),
            backbone=self.backbone,
            weights_sha256=self.weights_sha256,
            n=self.val.images,
        )
        results.write(
            self.out / self.spec.result, records, weights=self.about, **self._context(), wall_s=round(wall_s, 1)
        )
        self.tidy()

    def _context(self) -> dict:
        cfg = self.cfg
        half = "bfloat16" if cfg.MODEL.DEVICE == "cpu" else "float16"
        return {
            "protocol_version": cfg.TRANSFER.VERSION,
            "scale": self.spec.scale,
            "schedule": described(cfg),
            "changed_from_protocol": self.changed,
            "metric": ground_truth.read(self.spec.paths.val.json).metric,
            "errors": self.errors,
            "backbone": self.backbone,
            "norm": run_config.norm_of(cfg),
            "amp": cfg.SOLVER.AMP.ENABLED,
            "precision": half if cfg.SOLVER.AMP.ENABLED else "float32",
            "checkpoint_activations": cfg.TRANSFER.CHECKPOINT_ACTIVATIONS,
            "device": cfg.MODEL.DEVICE,
            "processes": distributed.world_size(),
            "engine": cfg.TRANSFER.EVALUATION_ENGINE,
            "torch": torch.__version__,
            "config_sha256": sha256(self.out / "config.yaml"),
        }


def is_mixed(device: torch.device, *, begun: bool | None) -> bool:
    """What TRANSFER.AUTO_PRECISION comes to: mixed on any GPU (float16), and on a CPU that is fast in bf16."""
    if device.type == "cuda":
        return True if begun is None else begun
    return chosen(AUTO, device, begun=None if begun is None else "bf16" if begun else "fp32") == "bf16"


def report(figures: dict) -> None:
    """One line a task."""
    for task, values in figures.items():
        known = [(name, values.get(name)) for name in ("AP50", "AP", "AP75")]
        print(f"{task}  " + "  ".join(f"{name} {value:.1f}" for name, value in known if value is not None))
