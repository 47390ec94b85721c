"""From a downloaded checkpoint to an AP table: convert it, fine-tune it and a network from scratch, print the table.

    python examples/from_checkpoint_to_ap_table.py moco_v2_800ep_pretrain.pth.tar --out runs \
        --protocol moco-c4-1x --benchmark coco_2017

Each step is a command of the suite, printed before it runs, so that it can be run by hand or on another machine. The
same call again does only what is missing. KEY=VALUE changes a setting of both fine-tuning runs: SOLVER.MAX_ITER=20.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def step(command: str, *arguments: object) -> None:
    """Run a command of the suite; end with its exit code if it fails."""
    words = [str(word) for word in (command, *arguments)]
    print(f"\n$ python {shlex.join(words)}", flush=True)
    code = subprocess.run([sys.executable, ROOT / words[0], *words[1:]]).returncode
    if code:
        sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="what you downloaded")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of all results (runs)")
    parser.add_argument("--name", default="downloaded", help="name of the row's folder")
    parser.add_argument("--protocol", default="moco-c4-1x")
    parser.add_argument("--benchmark", default="coco_2017")
    parser.add_argument("--data", type=Path, help="the benchmark's folder, if not below $DETECTRON2_DATASETS")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of the detector")
    options = parser.parse_intermixed_args()

    step("transfer/convert.py", "--inspect", options.checkpoint)
    weights = options.out / options.name / "convert" / "backbone.pkl"
    step("transfer/convert.py", options.checkpoint, weights)
    data = ["--data", options.data] if options.data else []
    for row, start in ((options.name, weights), ("random", "random")):
        out = options.out / row / f"{options.protocol}-{options.benchmark}"
        judged = ["--protocol", options.protocol, "--benchmark", options.benchmark, *data]
        step("transfer/train.py", *judged, "--weights", start, "--out", out, *options.settings)
    step("analysis/tables.py", options.out)


if __name__ == "__main__":
    main()
