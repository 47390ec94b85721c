"""Fine-tune a detector from pretrained weights and evaluate it.

    python transfer/train.py --protocol demo-fpn --benchmark scenes --weights backbone.pkl --out DIR [KEY VALUE ...]

Detectron2 trains under a protocol's yaml; KEY VALUE pairs change its settings (SOLVER.MAX_ITER 100). DIR gets
Detectron2's files (config.yaml, log.txt, metrics.json, model_final.pth) and result.json, predictions.json.gz,
predictions.png. The same command again resumes an interrupted run, to the same weights, or returns at once after a
complete one. SIGTERM and SIGUSR2 save and exit with code 75.

--seeds 0,1,2 makes a run of each seed, one after the other, in DIR/seed0 and so on; so does a protocol whose literature
averages several (voc-24k: 5), where --seed does not choose one.

--weights random is the row from scratch. A data set of your own needs no code: give its four paths and any name as
--benchmark.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from runtime import distributed
from runtime.command_line import Parser, UserError, run
from runtime.stopping import Stopped, StopRequest
from transfer.datasets import benchmarks
from transfer.detection import lr_search, run_config
from transfer.detection.fine_tuning import Plan, Run
from transfer.detection.launch import join, main_first
from transfer.detection.protocol import available as protocols

PATHS = ("train_json", "train_images", "val_json", "val_images")


def plans(arguments: argparse.Namespace) -> list[Plan]:
    """What the command line asks for, a run per seed, with the data found and the other processes joined."""
    overrides = arguments.settings + (["SOLVER.AMP.ENABLED", str(arguments.amp == "on")] if arguments.amp else [])
    overrides += ["TRANSFER.CHECKPOINT_ACTIVATIONS", "True"] if arguments.checkpoint_activations else []
    cfg = run_config.load(arguments.protocol, overrides, scale=arguments.scale)
    if cfg.TRANSFER.TRIALS < 1:
        raise UserError(f"TRANSFER.TRIALS must be at least 1, got {cfg.TRANSFER.TRIALS}")
    trials = range(cfg.TRANSFER.TRIALS) if arguments.seeds is None else seeds(arguments.seeds)
    device = join(cfg.MODEL.DEVICE)
    paths = {key: getattr(arguments, key) for key in PATHS}
    one = Plan(
        protocol=arguments.protocol,
        overrides=overrides,
        paths=main_first(lambda: benchmarks.locate(arguments.benchmark, root=arguments.data, paths=paths)),
        weights=arguments.weights,
        out=Path(arguments.out),
        seed=arguments.seed or 0,
        device=device,
        scale=arguments.scale,
    )
    if arguments.seed is not None or (len(trials) == 1 and arguments.seeds is None):
        return [one]
    return [replace(one, seed=seed, out=one.out / f"seed{seed}") for seed in trials]


def seeds(text: str) -> list[int]:
    """``0,1,2`` -> [0, 1, 2]. Raises UserError unless they are whole numbers, each given once."""
    if not all(word.strip().isdecimal() for word in text.split(",")):
        raise UserError(f"--seeds {text!r}: expected whole numbers separated by commas, like 0,1,2")
    found = [int(word) for word in text.split(",")]
    if len(set(found)) < len(found):
        raise UserError(f"--seeds {text!r} names a seed twice")
    return found


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_intermixed_args(argv)
    rates = lr_search.rates(arguments.search_lr) if arguments.search_lr else []
    if rates and arguments.eval_only:
        raise UserError("--eval-only evaluates one run; leave --search-lr out")
    stop = StopRequest()
    try:
        for wanted in plans(arguments):
            if rates:
                lr_search.search(wanted, rates, make=lambda each: Run(each, stop=stop))
            else:
                _run(Run(wanted, stop=stop), eval_only=arguments.eval_only)
    except Stopped as stopped:
        if distributed.is_main():
            print(f"{stopped}; the same command resumes", file=sys.stderr)
        return stopped.code
    finally:
        distributed.shutdown()
    return 0


def _run(fine_tuning: Run, *, eval_only: bool) -> None:
    fine_tuning.prepare()
    if fine_tuning.complete and not eval_only:
        print(f"complete: {fine_tuning.out / fine_tuning.plan.result}")
    else:
        fine_tuning.execute(eval_only=eval_only)


def _parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", required=True, metavar="P", help=f"one of {', '.join(protocols())}")
    names = ", ".join(benchmarks.available())
    parser.add_argument("--benchmark", required=True, metavar="B", help=f"{names}, or a name for your four paths")
    parser.add_argument("--weights", required=True, metavar="W", help="a .pkl of transfer/convert.py, or random")
    parser.add_argument("--out", required=True, metavar="DIR", help="output folder of this run alone")
    parser.add_argument("--data", metavar="ROOT", help="the benchmark's folder, if it is not in its usual place")
    for option in ("--train-json", "--train-images", "--val-json", "--val-images"):
        kind = "COCO json" if option.endswith("json") else "image folder"
        parser.add_argument(option, metavar="PATH", help=f"{kind} of your own data set")
    chance = parser.add_mutually_exclusive_group()
    chance.add_argument("--seed", type=int, help="of the new layers, the image order and all chance (0)")
    chance.add_argument("--seeds", metavar="0,1,2", help="a run for each, in DIR/seed0 ... (the protocol's number)")
    parser.add_argument(
        "--scale",
        type=int,
        default=1,
        metavar="N",
        help="N times fewer GPUs than the protocol assumes: batch and learning rate / N, iterations x N (1)",
    )
    parser.add_argument(
        "--search-lr",
        metavar="RATES",
        help="0.02,0.04: also run with the best of these, chosen on a tenth of train, as protocol P+lr; for the "
        "protocol's own batch (--scale applies to them too)",
    )
    parser.add_argument("--amp", choices=("on", "off"), help="mixed precision (the protocol's choice)")
    parser.add_argument("--checkpoint-activations", action="store_true", help="less memory, one more forward pass")
    parser.add_argument("--eval-only", action="store_true", help="evaluate DIR/model_final.pth again")
    parser.add_argument("settings", nargs="*", metavar="KEY VALUE", help="Detectron2 settings that differ from P's")
    return parser


if __name__ == "__main__":
    run(main)
