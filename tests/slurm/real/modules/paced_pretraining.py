"""pretrain.train with a pause of PACE_S seconds before each step: time to interrupt it that costs no processor.

On the node named by NO_DATA_ON the images are not where the command says; the name of the first node is FIRST_NODE.
"""

import os
import time

from pretrain import train


def parser():
    return train.parser()


def parse(argv):
    return train.parse(argv)


def main(argv):
    from pretrain.data import datasets

    load = datasets.batches

    def slowly(*arguments, **options):
        for batch in load(*arguments, **options):
            time.sleep(float(os.environ.get("PACE_S", 0)))
            yield batch

    datasets.batches = slowly
    if os.environ.get("NO_DATA_ON", "nowhere") == os.environ["SLURMD_NODENAME"]:
        argv = [word + "-not-here" if word.startswith("data.root=") else word for word in argv]
    if "FIRST_NODE" in os.environ:
        os.environ["MASTER_ADDR"] = os.environ["FIRST_NODE"]
    return train.main(argv)
