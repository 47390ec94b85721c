"""Fine-tune a detector from pretrained weights and evaluate it.

    python transfer/train.py --protocol demo-fpn --benchmark scenes --weights backbone.pkl --out DIR [KEY=VALUE ...]

Detectron2 trains under a protocol's yaml; KEY=VALUE changes its settings (SOLVER.MAX_ITER=100). DIR gets Detectron2's
files (config.yaml, log.txt, metrics.json, model_final.pth) and result.json, predictions.json.gz, predictions.png. The
same command again resumes an interrupted run, to the same weights, or returns at once after a complete one. SIGTERM
and SIGUSR2 save and exit with code 75.

--seeds 0,1,2 makes a run of each seed, one after the other, in DIR/seed0 and so on; so does a protocol whose literature
averages several (voc-24k: 5), where --seed does not choose one.

--weights random is the row from scratch. A data set of your own needs no code: give its four paths and any name as
--benchmark.
"""

import argparse
import sys
from pathlib import Path

from runtime.command_line import Faults, Parser, numbers, one_of, run
from transfer.datasets import benchmarks
from transfer.detection import network, protocol, settings
from transfer.detection.scaling import check_scale

PATHS = ("train_json", "train_images", "val_json", "val_images")

MOST_SEED = 2**31 - 1


def parser() -> Parser:
    """The options of this command."""
    parser = Parser(prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", required=True, metavar="P", help=f"one of {', '.join(protocol.available())}")
    names = ", ".join(benchmarks.available())
    parser.add_argument("--benchmark", required=True, metavar="B", help=f"{names}, or a name for your four paths")
    parser.add_argument("--weights", required=True, metavar="W", help="a .pkl of transfer/convert.py, or random")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder of this run alone")
    parser.add_argument("--data", metavar="ROOT", help="the benchmark's folder, if it is not in its usual place")
    for option in ("--train-json", "--train-images", "--val-json", "--val-images"):
        kind = "COCO json" if option.endswith("json") else "image folder"
        parser.add_argument(option, metavar="PATH", help=f"{kind} of your own data set")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, help="of the new layers, the image order and everything random (0)")
    seeds.add_argument("--seeds", metavar="0,1,2", help="a run for each, in DIR/seed0 ... (the protocol's number)")
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
    parser.add_argument(
        "--amp",
        choices=("on", "off", "auto"),
        help="mixed precision; on suits GPUs from V100 on, auto: where it is fast",
    )
    parser.add_argument("--checkpoint-activations", action="store_true", help="less memory, one more forward pass")
    parser.add_argument("--eval-only", action="store_true", help="evaluate DIR/model_final.pth again")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="Detectron2 settings that differ from P's")
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked as far as that is possible without torch, Detectron2 and the data.

    ``settings`` is {key: value}, ``seeds`` the list of the seeds that are run, ``rates`` those of --search-lr. Raises
    UserError naming every fault.
    """
    arguments = parser().parse_intermixed_args(argv)
    faults = Faults()
    with faults.collected():
        arguments.settings = settings.parse(arguments.settings)
        if arguments.amp == "auto":
            arguments.settings["TRANSFER.AUTO_PRECISION"] = True
        elif arguments.amp:
            arguments.settings["SOLVER.AMP.ENABLED"] = arguments.amp == "on"
        if arguments.checkpoint_activations:
            arguments.settings["TRANSFER.CHECKPOINT_ACTIVATIONS"] = True
    with faults.collected():
        one_of("protocol", arguments.protocol, protocol.available())
        check_scale(arguments.scale, protocol.value(arguments.protocol, "SOLVER.IMS_PER_BATCH"))
        if isinstance(arguments.settings, dict):
            network.check(
                settings.defaults() | protocol.read(arguments.protocol) | network.expanded(arguments.settings)
            )
    with faults.collected():
        if not any(getattr(arguments, key) for key in PATHS):
            one_of("benchmark", arguments.benchmark, benchmarks.available())
    seeds, arguments.seeds, arguments.rates = arguments.seeds, None, []
    with faults.collected("--seeds"):
        arguments.seeds = None if seeds is None else numbers(seeds)
    with faults.collected("--search-lr"):
        arguments.rates = [] if arguments.search_lr is None else numbers(arguments.search_lr, float, above=0)
    if beyond := [seed for seed in [arguments.seed or 0, *(arguments.seeds or [])] if not 0 <= seed <= MOST_SEED]:
        faults.append(f"a seed must lie in 0 .. {MOST_SEED}, got {beyond[0]}")
    if arguments.rates and arguments.eval_only:
        faults.append("--eval-only evaluates one run; leave --search-lr out")
    if arguments.rates and "SOLVER.BASE_LR" in arguments.settings:
        faults.append("SOLVER.BASE_LR is decided by --search-lr; use that option")
    faults.check()
    return arguments


def runs(arguments: argparse.Namespace) -> list[tuple[int, Path]]:
    """Seed and folder of each run that the command line stands for."""
    trials = arguments.settings.get("TRANSFER.TRIALS", protocol.value(arguments.protocol, "TRANSFER.TRIALS"))
    if arguments.seeds is not None:
        seeds = arguments.seeds
    elif arguments.seed is None and trials > 1:
        seeds = range(trials)
    else:
        return [(arguments.seed or 0, arguments.out)]
    return [(seed, arguments.out / f"seed{seed}") for seed in seeds]


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)

    from runtime import distributed
    from runtime.stopping import Stopped, StopRequest
    from transfer.detection import fine_tuning, lr_search

    stop = StopRequest()
    try:
        specs = fine_tuning.specs(
            runs(arguments),
            protocol=arguments.protocol,
            overrides=arguments.settings,
            benchmark=arguments.benchmark,
            data=arguments.data,
            paths={key: getattr(arguments, key) for key in PATHS},
            weights=arguments.weights,
            scale=arguments.scale,
        )
        for spec in specs:
            if arguments.rates:
                lr_search.search(spec, arguments.rates, make=lambda each: fine_tuning.Run(each, stop=stop))
            else:
                fine_tuning.complete(fine_tuning.Run(spec, stop=stop), eval_only=arguments.eval_only)
    except Stopped as stopped:
        if distributed.is_main():
            print(f"{stopped}; the same command resumes", file=sys.stderr)
        return stopped.code
    finally:
        distributed.shutdown()
    return 0


if __name__ == "__main__":
    run(main)
