"""Count the suite's own networks anew: writes analysis/report_page/network_sizes.csv, which the report shows.

    python benchmarks/network_sizes.py

A line for the backbone, and one for each detection protocol with the classes of the benchmarks it is for.
"""

import csv

from analysis.report_page.cost import BACKBONE, SIZES, counted
from runtime.files import replacing

CLASSES = {"voc": 20, "cityscapes": 8, "lvis": 1203, "keypoint": 1, "demo": 3}
"""By the first word of a protocol's name; 80 of every other."""


def main() -> None:
    from transfer.detection import protocol

    networks = [(BACKBONE, 0)]
    networks += [(name, CLASSES.get(name.partition("-")[0], 80)) for name in protocol.available()]
    with replacing(SIZES) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["network", "classes", "side", "parameters_m", "gflops"])
        for network, classes in networks:
            writer.writerow([network, classes, *counted(network, classes)])
            print(network, flush=True)


if __name__ == "__main__":
    main()
