"""The papers' numbers are read as they stand, each once, each with its source, and none from memory."""

import itertools
import re

import pytest

from analysis.results_table import published
from pretrain.methods import available
from runtime.command_line import UserError
from transfer.classification import classifier_protocol
from transfer.detection import protocol

HEAD = "method,variant,epochs,benchmark,protocol,task,metric,value,std,n,source,caveat,backbone\n"


@pytest.fixture(scope="module")
def numbers():
    classifiers = [name for kind in ("linear", "semi", "finetune") for name in classifier_protocol.available(kind)]
    return published.load(protocols=[*protocol.available(), *classifiers])


UNQUOTED = {"spectral_contrastive"}
"""Methods of which no number was read."""


def of(numbers, **wanted):
    return [entry for entry in numbers if all(getattr(entry, key) == value for key, value in wanted.items())]


def triple(numbers, task, **wanted):
    [*found] = (of(numbers, task=task, metric=metric, **wanted) for metric in ("AP50", "AP", "AP75"))
    return [entry.value for [entry] in found]


def test_every_number_names_a_known_method_and_protocol_and_its_source(numbers):
    assert len(numbers) > 400 and {entry.method for entry in numbers} >= set(available()) - UNQUOTED
    assert all(entry.source and "(M)" not in entry.caveat for entry in numbers)


def test_every_table_of_the_paper_is_there(numbers):
    ours = [entry for entry in numbers if entry.source.startswith("Matrix-SSL")]
    counts = {source: len(of(ours, source=source)) for source in sorted({entry.source for entry in ours})}
    assert counts == {
        "Matrix-SSL Table 1": 25,  # nine methods at 100, 200, 400 epochs, VICReg at 100 only
        "Matrix-SSL Table 4": 8,
        "Matrix-SSL Table 5": 7,
        "Matrix-SSL Table 6": 3,
        "Matrix-SSL Table 7": 22,
        "Matrix-SSL Tables 2-3": 44,  # seven methods in full, VICReg's two AP
    }


def test_the_papers_own_row_and_its_caveat(numbers):
    ours = {"method": "matrix_ssl", "benchmark": "coco_2017", "source": "Matrix-SSL Tables 2-3"}
    assert triple(numbers, "bbox", **ours) == [60.8, 41.0, 44.2]
    assert triple(numbers, "segm", **ours) == [57.5, 35.6, 38.0]
    assert {entry.protocol for entry in of(numbers, **ours)} == {"moco-c4-2x"}
    assert all("its baselines are C4 1x" in entry.caveat for entry in of(numbers, **ours))
    borrowed = of(numbers, method="vicreg", source="Matrix-SSL Tables 2-3")
    assert all("not VICReg's own row" in entry.caveat and entry.protocol == "vicreg-fpn-1x" for entry in borrowed)


def test_quoted_rows_agree_with_the_table_they_were_quoted_from(numbers):
    """What Matrix-SSL prints for its baselines stands in SimSiam's and Barlow Twins' tables with the same value."""
    pairs = {"Matrix-SSL Table 1": ["SimSiam Table 4", "VICReg paper and README"]}
    pairs["Matrix-SSL Tables 2-3"] = ["SimSiam Table 5", "Barlow Twins Table 4"]
    compared = 0
    for source, origins in pairs.items():
        for entry in of(numbers, source=source):
            keys = ("method", "variant", "epochs", "benchmark", "protocol", "task", "metric")
            same = {key: getattr(entry, key) for key in keys}
            for origin in origins:
                for there in of(numbers, source=origin, **same):
                    assert there.value == entry.value, same
                    compared += 1
    assert compared == 16 + 12 + 18  # Table 1; SimCLR and BYOL; MoCo v2, SwAV and Barlow Twins


def test_what_was_read_in_a_transcript_says_so(numbers):
    second_hand = [entry for entry in numbers if entry.source.startswith("MoCo v1")]
    assert len(second_hand) == 18 + 2 + 6 and all("transcript" in entry.caveat for entry in second_hand)


ELSEWHERE = {
    "cityscapes-fpn": "starts from a detector trained on COCO",
    "keypoint-fpn-1x": "Detectron2's model zoo, which freezes\nthe norms",
}
"""Protocols whose header names a number of another protocol, and how it says so: beside theirs it does not belong."""


def test_every_expected_cell_of_a_protocol_is_a_published_number(numbers):
    """``59.0/39.2/42.5`` is AP50, AP and AP75 of boxes or masks, ``38.6/34.6`` AP of both or top-1 and top-5."""
    shapes = [[("bbox", m) for m in ("AP50", "AP", "AP75")], [("segm", m) for m in ("AP50", "AP", "AP75")]]
    shapes += [[("bbox", "AP"), ("segm", "AP")], [("classification", "top1"), ("classification", "top5")]]
    shapes += [[("bbox", "AP")], [("classification", "top1")]]
    named = 0
    for folder in (protocol.FOLDER, classifier_protocol.FOLDER):
        for path in sorted(folder.glob("[!_]*.yaml")):
            expected = expected_of(path)
            if path.stem in ELSEWHERE:
                assert ELSEWHERE[path.stem] in expected
                continue
            rows = {}
            for entry in numbers:
                if entry.protocol in (path.stem, f"{path.stem}-1pct", f"{path.stem}-10pct"):
                    who = (entry.method, entry.variant, entry.epochs, entry.backbone, entry.source, entry.protocol)
                    rows.setdefault(who, {})[entry.task, entry.metric] = entry.value
            known = {tuple(row.get(place) for place in shape) for row in rows.values() for shape in shapes}
            for cell in re.findall(r"\b\d+\.\d+(?:/\d+\.\d+)*", expected):
                named += 1
                assert tuple(map(float, cell.split("/"))) in known, f"{path.name}: {cell} has no line in published.csv"
    assert named > 50


def expected_of(path) -> str:
    """What stands behind ``Expected:`` in the head of a protocol."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    expected = "\n".join(line.lstrip("# ") for line in lines).partition("Expected: ")[2]
    return re.sub(r"(arXiv|standard deviation) \d+\.\d+", "", expected)  # no cells


def test_numbers_from_memory_stay_out(numbers):
    assert not of(numbers, method="mec", epochs=800, benchmark="imagenet")
    assert not of(numbers, method="mec", benchmark="voc_2007_2012")
    assert not of(numbers, method="simclr", protocol="semi-simclr-1pct", metric="top5")


def test_a_drawn_data_set_has_no_published_numbers(numbers):
    assert not of(numbers, benchmark="scenes") and "scenes" not in published.QUOTABLE


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "byal,,100,imagenet,linear-moco,classification,top1,66.5,,,A,",
            "line 2: unknown method 'byal'; known: byol",
        ),
        ("byol,,100,imagnet,linear-moco,classification,top1,66.5,,,A,", "unknown benchmark 'imagnet'"),
        ("byol,,100,imagenet,linear-mocco,classification,top1,66.5,,,A,", "unknown protocol 'linear-mocco'"),
        ("byol,,100,imagenet,linear-moco,class,top1,66.5,,,A,", "unknown task 'class'"),
        ("byol,,100,imagenet,linear-moco,classification,top1,665,,,A,", "value 665 is no percentage"),
        ("byol,,100,imagenet,linear-moco,classification,top1,,,,A,", "line 2: could not convert"),
        ("byol,,100,imagenet,linear-moco,classification,top1,66.5,,,,", "without a source"),
        ("byol,,100,imagenet,linear-moco,classification,top1,66.5,0.1,,A,", "needs the number of runs"),
        ("byol,,100,imagenet,linear-moco,classification,top1,66.5,,,A,\n" * 2, "line 3: repeats line 2"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, line, message):
    (tmp_path / "p.csv").write_text(HEAD + line)
    with pytest.raises(UserError, match=message):
        published.load(tmp_path / "p.csv", protocols=["linear-moco"])
