"""Records a reader can add up in the head, and the tables of them."""

from pathlib import Path

import pytest

from analysis.results_table.build_tables import build_tables
from analysis.results_table.measurements import Measurement
from analysis.results_table.published import Published
from runtime.results import Record, write


def _record(method="matrix_ssl", value=40.0, *, seed=0, protocol="moco-c4-1x", task="bbox", metric="AP", **changes):
    own = {"recipe": "", "epochs": 0, "weights_sha256": ""} if method == "random" else {"recipe": "demo", "epochs": 8}
    common = {"benchmark": "coco_2017", "commit": "abc123", "weights_sha256": f"sha-{method}-{seed}", "n": 5000}
    place = {"protocol": protocol, "task": task, "metric": metric, "value": value, "seed": seed}
    return Record(method=method, **common | own | place | changes)


@pytest.fixture(scope="session")
def record():
    """``record("byol", 39.0, seed=1, ...)``: a box AP on COCO unless it says otherwise."""
    return _record


@pytest.fixture(scope="session")
def detection():
    """``detection(method, box, mask)``: records of AP50, AP, AP75 of boxes and of masks."""

    def make(method, box, mask, **more):
        names = ("AP50", "AP", "AP75")
        return [
            _record(method, value, metric=name, task=task, **more)
            for task, values in (("bbox", box), ("segm", mask))
            for name, value in zip(names, values, strict=True)
        ]

    return make


@pytest.fixture(scope="session")
def printed():
    """``printed("byol", 37.9)``: a published box AP."""

    def make(method, value, **changes):
        common = {"variant": "", "epochs": 200, "benchmark": "coco_2017", "protocol": "moco-c4-1x", "task": "bbox"}
        common |= {"metric": "AP", "std": None, "n": None, "source": "Table 5", "caveat": "rate searched"}
        return Published(method=method, value=value, **common | changes)

    return make


@pytest.fixture(scope="session")
def tables():
    """``tables(records, printed=[...])``: the tables of records that lie in runs/METHOD-seedK/result.json."""

    def make(records, printed=()):
        about = {"protocol_version": 1, "scale": 1, "changed_from_protocol": {}}
        found = [
            Measurement(entry, Path(f"runs/{entry.method}-seed{entry.seed}/result.json"), about) for entry in records
        ]
        return build_tables(found, printed)

    return make


@pytest.fixture(scope="session")
def browser_module(module_at):
    """tests/browser.py."""
    return module_at(Path(__file__).parent.with_name("browser.py"))


@pytest.fixture(scope="session")
def full_runs(record, detection, module_at, tmp_path_factory) -> Path:
    """The runs folder of report_folder.py: one of everything."""
    folder = module_at(Path(__file__).with_name("report_folder.py"))
    return folder.fill(tmp_path_factory.mktemp("full") / "runs", record, detection)


@pytest.fixture(scope="session")
def full_page(full_runs) -> Path:
    """Its report."""
    from analysis import report

    path = full_runs.with_name("report.html")
    report.main([str(full_runs), "--out", str(path)])
    return path


@pytest.fixture
def runs_of(tmp_path):
    """``runs_of(records)``: a runs folder that holds them, each in a row of its own."""

    def make(records):
        for number, entry in enumerate(records):
            row = tmp_path / "runs" / f"{entry.method}{number}-demo-seed{entry.seed}"
            write(row / f"{entry.protocol}-{entry.benchmark}" / "result.json", [entry])
        return tmp_path / "runs"

    return make
