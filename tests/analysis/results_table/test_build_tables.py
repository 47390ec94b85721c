"""Which records meet in a table: the papers' column order, one protocol a column, published beside measured."""

import json

from analysis.results_table.build_tables import RANKS, build_tables
from analysis.results_table.measurements import Measurement
from analysis.results_table.model import MISSING


def top1(record, value, **more):
    return record(value=value, **{"task": "classification", "metric": "top1", "benchmark": "imagenet", **more})


def cells(table, row):
    return [table.text(row, column) for column in table.columns]


def test_columns_stand_in_the_papers_order_and_random_init_first(tables, record, detection):
    [table] = tables(
        detection("matrix_ssl", [60.8, 41.0, 44.2], [57.2, 35.6, 38.1])
        + detection("random", [44.0, 26.4, 27.8], [46.9, 29.3, 30.8])
        + [record(value=71.1, task="classification", metric="top1", protocol="knn-20")]
        + [record(metric="APs", value=1.0)]
    )
    boxes = [f"{kind} {metric}" for kind in ("box", "mask") for metric in ("AP50", "AP", "AP75")]
    assert table.heads == ["method", "recipe", "epochs", *boxes, "kNN-20 top-1", "seeds"]
    random, ours = table.rows
    assert [random.name, *cells(table, random)] == [
        *("random init", "44.0", "26.4", "27.8", "46.9", "29.3", "30.8", MISSING)
    ]
    assert cells(table, ours)[-1] == "71.1"


def test_two_protocols_never_share_a_table_of_detection(tables, record):
    found = tables([record(value=38.0), record(value=41.0, protocol="moco-c4-2x")])
    assert [(table.name, cells(table, table.rows[0])) for table in found] == [
        ("coco_2017-moco-c4-1x", ["38.0"]),
        ("coco_2017-moco-c4-2x", ["41.0"]),
    ]


def test_two_probes_of_a_kind_share_a_table_but_no_column(tables, record):
    [linear, semi, knn] = tables(
        [top1(record, 71.0, protocol="linear-matrix-ssl"), top1(record, 70.0, protocol="linear-moco")]
        + [top1(record, 45.0, protocol="semi-vicreg-1pct"), top1(record, 58.0, protocol="knn-20")]
    )
    assert [table.name for table in (linear, semi, knn)] == ["imagenet-linear", "imagenet-semi", "imagenet-knn"]
    assert linear.heads[3:-1] == ["linear-matrix-ssl top-1", "linear-moco top-1"]


def test_vits_have_tables_of_their_own_with_their_papers_beside_them(tables, record):
    """A ResNet and a ViT under one protocol, and a ViT under one of its own: MAE's rows stand there alone."""
    vit = {"backbone": "vit_base_patch16"}
    found = tables(
        [top1(record, 50.0, protocol=name) for name in ("linear-moco", "finetune-mae-b")]
        + [top1(record, 51.0, protocol=name, **vit) for name in ("linear-moco", "linear-mae-b", "finetune-mae-b")],
        printed=None,
    )
    assert [(table.name, table.title) for table in found] == [
        ("imagenet-linear", "linear classification"),
        ("imagenet-linear-vit", "linear classification, ViT"),
        ("imagenet-finetune", "fine-tuning on all labels"),
        ("imagenet-finetune-vit", "fine-tuning on all labels, ViT"),
    ]
    linear, vits, resnets, finetuned = found
    assert {row.backbone for row in linear.rows} == {"resnet50"} and len(linear.published_rows) == 2
    assert len(resnets.rows) == 1, "no ViT's number beside a ResNet"
    assert [(row.method, *cells(vits, row)) for row in vits.rows] == [
        ("matrix_ssl", "51.0", "51.0"),
        ("mae", "67.8", MISSING),
        ("mae", "68.0", MISSING),
    ]
    rows = [(row.name, row.epochs, *cells(finetuned, row)) for row in finetuned.rows if row.source]
    assert ("MAE", 1600, "83.6 ± 0.1") in rows and ("U-MAE", 200, "83.0") in rows and ("M-MAE", 200, "83.1") in rows


def test_a_detector_from_scratch_stands_beside_vitdet_in_columns_of_its_own(tables, record):
    [table] = tables([record(protocol="vitdet-b-100ep", backbone="vit_base_patch16")], printed=None)
    boxes = ["lsj-fpn-100ep box AP", "vitdet-b-100ep box AP"]
    assert table.heads == ["method", "backbone", "recipe", "epochs", *boxes, "seeds"]
    rows = {(row.name, row.backbone, *cells(table, row)) for row in table.published_rows}
    assert ("random init", "resnet50", "44.6", MISSING) in rows
    assert ("MAE", "vit_base_patch16", MISSING, "51.6") in rows
    assert "Each column group is a protocol of its own." in table.footnotes and "5000 images" in table.caption


def test_every_number_of_neighbours_has_a_table_and_the_first_stands_beside_the_boxes(tables, record):
    votes = [record(value=v, task="classification", metric="top1", protocol=f"knn-{k}") for k, v in ((20, 1), (200, 2))]
    detection, knn = tables([record(), *votes])
    assert detection.heads[3:-1] == ["box AP", "kNN-20 top-1"]
    assert knn.heads[3:-1] == ["kNN-20 top-1", "kNN-200 top-1"]


def test_measures_of_a_representation_have_a_table_of_their_own_and_no_best(tables, record):
    ranks = {"task": "representation", "protocol": "features-backbone", "n": 800}
    [table] = tables(
        [record(value=593.2, metric="rank-total-cov", **ranks), record("byol", 0.853, metric="alpha", **ranks)]
        + [record("byol", 120.0, metric="rank-total-cov", **ranks)]
    )
    assert table.name == "coco_2017-features-backbone" and "percent" not in table.caption
    assert [cells(table, row) for row in table.rows] == [["0.853", "120.0"], [MISSING, "593.2"]]
    assert not table.marks and table.footnotes == [RANKS]


def test_two_recipes_and_a_variant_of_one_method_are_three_rows(tables, record):
    [table] = tables(
        [record(value=40.0), record(value=42.0, recipe="imagenet-400ep", epochs=400)]
        + [record(value=0.1, variant="no-stop-gradient")]
    )
    assert sorted(row.label for row in table.rows) == ["Matrix-SSL", "Matrix-SSL", "Matrix-SSL (no-stop-gradient)"]


def test_a_sweep_is_a_table_by_value_with_the_recipes_own_row(tables, record, printed):
    values = {"": 71.0, "gamma=1.3": 70.9, "gamma=0.3": 70.8, "gamma=0": 70.5}
    records = [top1(record, value, variant=variant, protocol="linear-matrix-ssl") for variant, value in values.items()]
    quoted = {"benchmark": "imagenet", "protocol": "linear-matrix-ssl", "task": "classification", "metric": "top1"}
    paper = [printed("matrix_ssl", v, variant=f"gamma={g}", **quoted) for g, v in (("0.5", 71.0), ("0", 70.6))]
    paper += [printed("matrix_ssl", 70.9, variant="order=3", **quoted)]
    main, sweep = tables([*records, top1(record, 58.0, protocol="linear-moco")], paper)
    assert [row.variant for row in main.rows] == [""]
    assert sweep.heads == ["gamma", "recipe", "epochs", "linear-matrix-ssl top-1", "seeds"]
    assert [sweep.row_labels(row)[0] for row in sweep.rows] == ["recipe's own", "0", "0.3", "1.3", "0", "0.5"]
    assert sweep.row_labels(sweep.rows[-1])[1].startswith("published")


def test_published_numbers_stand_beside_measured_ones_of_the_same_protocol_only(tables, record, printed):
    paper = [printed("byol", 37.9), printed("matrix_ssl", 41.0, protocol="moco-c4-2x"), printed("mec", 1, metric="APs")]
    [table] = tables([record(value=38.0)], paper)
    measured, quoted = table.rows
    assert (quoted.name, cells(table, quoted), table.row_labels(quoted)[1]) == ("BYOL", ["37.9"], "published [a]")
    assert not measured.source and table.footnotes[-1] == "[a] Table 5: rate searched"


def test_a_drawn_data_set_shows_no_published_number(tables, record, printed):
    [table] = tables([record(benchmark="scenes")], [printed("byol", 37.9, benchmark="scenes")])
    assert [row.source for row in table.rows] == [""]


def test_the_same_numbers_from_two_papers_are_one_row_with_both_sources(tables, record, printed):
    paper = [
        printed("byol", 37.9),
        printed("byol", 37.9, source="Table 2", caveat=""),
        printed("byol", 38.0, source="X"),
    ]
    [table] = tables([record()], paper)
    assert [row.source for row in table.rows] == ["", "Table 5; Table 2", "X"]


def test_table_1_of_the_paper_is_there_whole_and_every_protocol_of_it_has_a_column(tables, record):
    [table] = tables([top1(record, 71.0, protocol="linear-matrix-ssl")], printed=None)
    assert [column.protocol for column in table.columns] == [
        *("linear-matrix-ssl", "linear-simsiam", "linear-unstated", "linear-vicreg")
    ]
    paper = {
        (row.method, row.epochs): [text for text in cells(table, row) if text != MISSING]
        for row in table.rows
        if row.source == "Matrix-SSL Table 1"
    }
    assert len(paper) >= 24 and paper["simclr", 100] == ["66.5"] and paper["barlow_twins", 400] == ["71.8"]
    assert paper["vicreg", 100] == ["68.6"] and paper["matrix_ssl", 400] == ["73.6"]
    [other] = tables([top1(record, 71.0, protocol="linear-moco")], printed=None)
    assert [column.protocol for column in other.columns] == ["linear-moco"]


def test_one_percent_stands_before_ten(tables, record):
    [table] = tables([top1(record, 1.0, protocol=f"semi-vicreg-{percent}pct") for percent in (10, 1)])
    assert table.heads[3:-1] == ["semi-vicreg-1pct top-1", "semi-vicreg-10pct top-1"]


def test_the_suites_own_file_gives_the_papers_rows(tables, record):
    [table] = tables([record(protocol="moco-c4-2x", seed=seed) for seed in range(2)], printed=None)
    [paper] = [row for row in table.rows if row.method == "matrix_ssl" and row.source]
    assert cells(table, paper) == ["41.0"]
    assert any("baselines are C4 1x" in note for note in table.footnotes)


def test_language_models_have_their_counting_error_and_mcnemar_below_the_table(tmp_path, record):
    """Two seeds of two rows on four questions; a seed that answered other questions is not compared."""
    own = {"task": "language", "metric": "accuracy", "protocol": "metamath", "benchmark": "word-problems-test", "n": 4}
    answers = {("", 0): [1, 0, 0, 0], ("MCE", 0): [1, 1, 1, 0], ("", 1): [1, 1, 0, 0], ("MCE", 1): [0, 1, 0, 0]}
    entries = []
    for (variant, seed), right in answers.items():
        folder = tmp_path / f"{variant}-{seed}"
        folder.mkdir()
        expected = "8" if (variant, seed) == ("MCE", 1) else "7"
        items = [{"index": k, "right": bool(r), "expected": expected, "generated": ""} for k, r in enumerate(right)]
        (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        made = record("llm", 25.0 * sum(right), seed=seed, variant=variant, **own)
        entries.append(Measurement(made, folder / "result.json"))
    [table] = build_tables(entries)
    assert "4 questions" in table.caption
    errors, pairs = table.notes
    assert errors == "standard error of counting, points a seed: llm 25.0, llm (MCE) 21.7."
    assert pairs.endswith("alone answers, a pair for each seed: llm (MCE) 2:0 p 0.5.")
