"""Fine-tune a detector from pretrained weights and evaluate it.

    python transfer/train.py --protocol demo-fpn --benchmark scenes --weights backbone.pkl --out DIR [KEY VALUE ...]

Detectron2 trains under a protocol's yaml; KEY VALUE pairs change its settings (SOLVER.MAX_ITER 100). DIR gets
Detectron2's files (config.yaml, log.txt, metrics.json, model_final.pth) and result.json, predictions.json.gz,
predictions.png. The same command again resumes an interrupted run, to the same weights, or returns at once after a
complete one. SIGTERM and SIGUSR2 save and exit with code 75.

--weights random is the row from scratch. A data set of your own needs no code: give its four paths and any name as
--benchmark.
"""

import argparse
import gzip
import json
import sys
import time
from pathlib import Path

import torch
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from pretrain import distributed, provenance
from pretrain.command_line import Parser, UserError, run
from pretrain.files import replacing, sha256, write_json, write_text
from pretrain.stopping import StopRequest
from transfer import benchmarks, coco_check, evaluate, pictures, results, settings, weights
from transfer.identity import claim, identity
from transfer.processes import join
from transfer.protocol import available as protocols
from transfer.stopping import Stopped
from transfer.trainer import Trainer

RANDOM = "random"
PATHS = ("train_json", "train_images", "val_json", "val_images")


class Run:
    """One fine-tuning run, from its command line to its result."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments, self.out, self.stop = arguments, Path(arguments.out), StopRequest()
        self.cfg = settings.load(arguments.protocol, arguments.settings)
        self.paths = benchmarks.locate(
            arguments.benchmark, root=arguments.data, paths={key: getattr(arguments, key) for key in PATHS}
        )
        self.weights = {} if arguments.weights == RANDOM else weights.read(arguments.weights)
        self.about = self.weights.get(weights.ABOUT, {})
        self.weights_sha256 = sha256(arguments.weights) if self.weights else ""
        settings.apply_input(self.cfg, self.about, arguments.settings)
        if self.weights and not self.about:
            print(
                f"note: {arguments.weights} does not say what input it needs; the protocol's is used", file=sys.stderr
            )
        if not 0 <= arguments.seed < 2**31:
            raise UserError(f"--seed must lie in 0 .. {2**31 - 1}, got {arguments.seed}")

    def prepare(self) -> None:
        """Join the other processes, check the data, take the folder, and open the log."""
        device = join(self.cfg.MODEL.DEVICE)
        summary = coco_check.check(self.paths.train, evaluated=False)
        self.val = coco_check.check(self.paths.val, evaluated=True)
        if summary.categories != self.val.categories:
            raise UserError(f"{self.paths.train.json} and {self.paths.val.json} have different categories")
        settings.resolve(
            self.cfg,
            self.paths,
            summary,
            out=self.out,
            seed=self.arguments.seed,
            weights=self.arguments.weights if self.weights else "",
            world_size=distributed.world_size(),
            device=device.type,
        )
        if distributed.is_main():
            claim(self.out, self.identity())
            write_text(self.out / "config.yaml", self.cfg.dump())
        distributed.barrier()
        for name in ("detectron2", "fvcore"):
            setup_logger(str(self.out), distributed.rank(), name=name, configure_stdout=False)

    def identity(self) -> dict:
        return identity(
            self.cfg,
            protocol=self.arguments.protocol,
            benchmark=self.paths,
            weights_sha256=self.weights_sha256,
        )

    def train(self) -> None:
        """Train to the end, from the last checkpoint if there is one."""
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
            raise UserError(f"fine-tuning diverged ({reason}); lower SOLVER.BASE_LR or warm up longer") from error

    def score(self, model: torch.nn.Module) -> tuple[dict, list[dict]]:
        """COCO's figures and the predictions, on the main process; empty on the others."""
        loader = Trainer.build_test_loader(self.cfg, self.cfg.DATASETS.TEST[0])
        predictions = evaluate.predict(model, loader, category_ids=list(self.val.categories), stop=self.stop)
        if not distributed.is_main():
            return {}, []
        tasks = ["bbox", "segm"] if self.cfg.MODEL.MASK_ON else ["bbox"]
        engine = self.cfg.TRANSFER.EVALUATION_ENGINE
        return evaluate.score(self.paths.val.json, predictions, tasks=tasks, engine=engine), predictions

    def evaluate(self) -> dict:
        """Evaluate the saved model_final.pth: one source of statistics for every process, and for every later look."""
        path = self.out / "model_final.pth"
        if not path.exists():
            raise UserError(f"{path} does not exist; train first, without --eval-only")
        model = Trainer.build_model(self.cfg)
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
        model.load_state_dict(state)
        metrics, predictions = self.score(model)
        if distributed.is_main():
            with replacing(self.out / "predictions.json.gz") as temporary, gzip.open(temporary, "wt") as file:
                json.dump(predictions, file)
            if count := self.cfg.TRANSFER.PICTURES:
                pictures.draw(self.out / "predictions.png", self.paths.val, predictions, count=count)
        return metrics

    def write_result(self, metrics: dict, *, wall_s: float) -> None:
        """Write result.json; last of all files, so that its presence means the run is complete."""
        origin = {"method": Path(self.arguments.weights).stem, "recipe": "", "epochs": 0, **self.about}
        records = results.flatten(
            metrics,
            method=origin["method"],
            recipe=origin["recipe"],
            epochs=origin["epochs"],
            benchmark=self.paths.name,
            protocol=self.arguments.protocol,
            seed=self.arguments.seed,
            commit=provenance.commit(),
            weights_sha256=self.weights_sha256,
            n=self.val.images,
        )
        cfg = self.cfg
        half = "bfloat16" if cfg.MODEL.DEVICE == "cpu" else "float16"
        results.write(
            self.out / "result.json",
            records,
            weights=self.about,
            norm=cfg.MODEL.RESNETS.NORM,
            precision=half if cfg.SOLVER.AMP.ENABLED else "float32",
            device=cfg.MODEL.DEVICE,
            processes=distributed.world_size(),
            engine=cfg.TRANSFER.EVALUATION_ENGINE,
            torch=torch.__version__,
            config_sha256=sha256(self.out / "config.yaml"),
            wall_s=round(wall_s, 1),
        )
        for path in self.out.glob("model_[0-9]*.pth"):  # what only a resumption would need
            path.unlink()


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_intermixed_args(argv)
    began = time.monotonic()
    fine_tuning = Run(arguments)
    try:
        fine_tuning.prepare()
        if (fine_tuning.out / "result.json").exists() and not arguments.eval_only:
            print(f"complete: {fine_tuning.out / 'result.json'}")
            return 0
        if not arguments.eval_only:
            fine_tuning.train()
        metrics = fine_tuning.evaluate()
        if distributed.is_main():
            fine_tuning.write_result(metrics, wall_s=time.monotonic() - began)
            _report(metrics, fine_tuning.out)
    except Stopped as stop:
        if distributed.is_main():
            print(f"{stop}; the same command resumes", file=sys.stderr)
        return stop.code
    finally:
        distributed.shutdown()
    return 0


def _report(metrics: dict, out: Path) -> None:
    for task, figures in metrics.items():
        print(f"{task}  " + "  ".join(f"{name} {figures[name]:.1f}" for name in ("AP50", "AP", "AP75")))
    print(out / "result.json")


def _parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", required=True, metavar="P", help=f"one of {', '.join(protocols())}")
    names = ", ".join(benchmarks.available())
    parser.add_argument("--benchmark", required=True, metavar="B", help=f"{names}, or a name for your four paths")
    parser.add_argument("--weights", required=True, metavar="W", help="a .pkl of transfer/convert.py, or random")
    parser.add_argument("--out", required=True, metavar="DIR", help="output folder of this run alone")
    parser.add_argument("--data", metavar="ROOT", help="the benchmark's folder, if it is not in its usual place")
    for key in PATHS:
        kind = "COCO json" if key.endswith("json") else "image folder"
        parser.add_argument("--" + key.replace("_", "-"), metavar="PATH", help=f"{kind} of your own data set")
    parser.add_argument("--seed", type=int, default=0, help="of the new layers, the image order and all chance (0)")
    parser.add_argument("--eval-only", action="store_true", help="evaluate DIR/model_final.pth again")
    parser.add_argument("settings", nargs="*", metavar="KEY VALUE", help="Detectron2 settings that differ from P's")
    return parser


if __name__ == "__main__":
    run(main)
