"""What a step of a masked auto-encoder costs by its mask ratio: the encoder computes the visible patches only.

    python benchmarks/masked.py [--network vit_base_patch16] [--batch 4] [--rounds 5]

Forward and backward pass in float32, one thread, CPU time, all ratios in turns within one process. The last column is
the share of the cost at mask ratio 0.0, which is to be at most 0.45 at 0.75; shares hold between machines. The decoder
computes all patches, so the share is larger around a small encoder: its depth and width are settings.
"""

import argparse
import statistics
import time
import warnings
from dataclasses import replace

import torch

from pretrain import backbones
from pretrain.backbones import vit
from pretrain.config import BackboneConfig
from pretrain.methods.mae import Config, Method

RATIOS = (0.0, 0.25, 0.5, 0.75, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="vit_base_patch16", choices=vit.NAMES)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--decoder", type=int, nargs=3, default=(512, 8, 16), metavar=("WIDTH", "DEPTH", "HEADS"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", r"var\(\)")  # of the patches masked at 0.0, which are none
    width, depth, heads = options.decoder
    settings = Config(decoder_width=width, decoder_depth=depth, decoder_heads=heads)
    trunk = backbones.build(BackboneConfig(name=options.network, positions="sincos"), side=options.side)
    network = Method(trunk, settings)
    images = torch.randn(options.batch, 3, options.side, options.side)
    keys = torch.tensor([(0, 0, index) for index in range(options.batch)])
    seconds: dict[float, list[float]] = {ratio: [] for ratio in RATIOS}
    for number in range(options.rounds + 1):  # the first warms caches up and does not count
        for ratio in RATIOS[:: 1 if number % 2 else -1]:
            network.config = replace(settings, mask_ratio=ratio)
            network.zero_grad()
            began = time.process_time()
            network(*network.prepare([images], keys)).online[1].mean().backward()
            if number:
                seconds[ratio].append(time.process_time() - began)
    whole = statistics.median(seconds[0.0])
    print(f"{options.network}, {options.batch} images of {options.side} pixels, decoder {width} x {depth}")
    print("mask ratio | CPU s, median | share of 0.0")
    for ratio, values in seconds.items():
        median = statistics.median(values)
        print(f"{ratio:10.2f} | {median:13.3f} | {median / whole:12.2f}")


if __name__ == "__main__":
    main()
