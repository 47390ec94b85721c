"""The report as a file: its structure, what stands behind its numbers, and what it makes of a folder half full."""

import html
import html.parser
import json
import re
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import report, tables
from analysis.report_page import commands, cost, jobs, training
from analysis.report_page.runs_folder import RunsFolder
from analysis.results_table.build_tables import build_tables
from analysis.results_table.explain import cell_address
from analysis.results_table.measurements import collect
from language import evaluate
from pretrain.monitoring.rank_monitor import PER_CLASS
from runtime.command_line import UserError
from runtime.results import Result, write
from slurm import status

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Structure(html.parser.HTMLParser):
    """Start and end tags that must match; ids, addresses, and the text of every article by what it is about."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.ids, self.loads, self.cells, self.articles, self.headings = [], [], [], [], {}, []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.loads += [attributes[name] for name in ("src", "href", "srcset", "data", "action") if name in attributes]
        self.cells += [attributes["data-cell"]] if "data-cell" in attributes else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        if tag == "article":
            assert attributes["data-about"] not in self.articles, "two articles of one address"
            self.articles[attributes["data-about"]] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass  # <path/> inside a drawing

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing at {self.getpos()}"

    def handle_data(self, data):
        if "article" in self.open:
            self.articles[list(self.articles)[-1]] += f"{data}\n"


def text_of(page: str) -> str:
    body = re.sub(r"<(style|script)( [^>]*)?>.*?</\1>", "", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", body))


@pytest.fixture
def quick(monkeypatch):
    """Without the count of GFLOPs, which builds a detector."""
    monkeypatch.setattr(cost, "networks", lambda folder: ([], []))


def test_the_page_is_well_formed_and_loads_nothing(full_page):
    page = full_page.read_text(encoding="utf-8")
    structure = Structure(page)
    assert len(set(structure.ids)) == len(structure.ids)
    assert structure.loads and all(address.startswith(("#", "data:")) for address in structure.loads)
    assert {address[1:] for address in structure.loads if address.startswith("#")} <= set(structure.ids)
    style = "".join(re.findall(r"<style>.*?</style>", page, flags=re.DOTALL))
    assert "@import" not in style and "url(" not in style and "default-src 'none'" in page
    levels = structure.headings
    assert levels[0] == 1 and all(below - above <= 1 for above, below in zip(levels, levels[1:], strict=False))


def test_every_number_has_its_records_behind_it(full_runs, full_page):
    structure = Structure(full_page.read_text(encoding="utf-8"))
    assert structure.cells and set(structure.cells) == set(structure.articles)
    measured = 0
    for table in build_tables(collect(full_runs).measurements):
        for (row, column), cell in table.cells.items():
            behind = structure.articles[cell_address(table, row, column)].splitlines()
            for found in cell.measured:
                record, measured = found.record, measured + 1
                facts = [record.seed, f"{record.value:.4f}", f"{record.n} images", record.commit]
                facts += [record.weights_sha256 or "none: untrained weights of the seed"]
                facts += [found.path.relative_to(full_runs)]
                assert set(map(str, facts)) <= set(behind), (facts, behind)
            for entry in cell.published:
                assert entry.source in behind and (entry.caveat or "none known") in behind
    assert measured > 20


def test_the_records_of_two_networks_are_told_apart(quick, record, tmp_path):
    for k, name in enumerate(("resnet50", "resnet101")):
        made = [record("random", 20.0 + k, backbone=name)]
        write(tmp_path / f"random-{name}" / "moco-c4-1x-coco_2017" / "result.json", made)
    articles = Structure(report.page(tmp_path, title="t")).articles
    behind = {about: text for about, text in articles.items() if "\nmeasured, random/" in text}
    assert len(behind) == 2
    for about, text in behind.items():
        assert ("21.0000" if "resnet101" in about else "20.0000") in text.splitlines()


def test_a_run_under_other_settings_is_marked_on_the_page_too(quick, record, tmp_path):
    """The page names files by their place below the runs folder, from where they could not be read again."""
    short = {"protocol_version": 2, "changed_from_protocol": {"SOLVER.MAX_ITER": 9000}}
    write(tmp_path / "runs" / "a" / "moco-c4-1x-coco_2017" / "result.json", [record()], **short)
    page = report.page(tmp_path / "runs", title="t")
    assert "40.0 ‡" in page and "(SOLVER.MAX_ITER 9000)" in page
    assert "protocol version 2; deviations from its settings: SOLVER.MAX_ITER 9000" in page


def test_measured_and_published_rows_look_different(full_page):
    page = full_page.read_text(encoding="utf-8")
    bodies = re.findall(r"<tbody>.*?</tbody>", page, flags=re.DOTALL)
    published = [body for body in bodies if '<tr class="published">' in body]
    assert published and all(body.count("<tr") == body.count('<tr class="published">') for body in published)
    assert "tr.published { font-style: italic" in page


def test_all_parts_are_there(full_page):
    words = text_of(full_page.read_text(encoding="utf-8"))
    assert "Loss, Matrix-SSL" in words and "Intra-class effective rank" in words  # curves
    assert "matrix_ssl-demo-seed0: -20.9" in words  # the last loss
    assert "Spearman +1.00 (p = 0.33), Kendall +1.00 (p = 0.33), n = 3" in words
    assert "Spectrum, analysis-scenes, 64 images" in words and "trustworthiness 0.912" in words
    assert "64 images, 32 of each of 2 classes, backbone features" in words
    assert "ResNet-50 backbone" in words and "23.51" in words and "4.11" in words
    assert "1:00:00" in words and "8.00" in words and "192" in words  # 8 GPUs for one hour of the 24 asked for
    assert full_page.stat().st_size < 1_300_000  # 900 kB draw the charts; the picture of 3000 pixels is small


def test_a_rank_has_its_n_its_interval_and_a_mark_where_n_decides(full_page):
    words = " ".join(text_of(full_page.read_text(encoding="utf-8")).split())
    assert "byol-demo-seed0 64 32 10 (9 to 11) 20 – – – –" in words
    assert "matrix_ssl-demo-seed1 64 32 12 (11 to 13) † 24 – – – –" in words
    assert "2 values limited by the number of images" in words
    assert "matrix_ssl-demo-seed0: rank-intra-cov still grows with n." in words


def test_the_bound_of_the_rank_in_training_is_the_probes():
    """32 images of a class have a rank of 31 at most, and the chart says how many they are."""
    assert f"{PER_CLASS} of a class" in training.RANKS["rank_intra"]


def test_the_state_and_the_commands_are_those_of_the_graph(full_page):
    words = text_of(full_page.read_text(encoding="utf-8"))
    assert "missing: vicreg-demo-seed0/moco-c4-1x-coco_2017" in words and "✓ done" in words
    assert "python -m pretrain.train --method matrix_ssl 'optim.lr=0.1 <b>'" in words
    assert "missing: report" not in words  # it is being written


def test_what_comes_from_a_file_is_never_markup(quick, record, runs_of, tmp_path):
    evil = "<script>window.hacked = 1</script>\"'&"
    runs = runs_of([record(variant=evil, commit=evil), record("byol", recipe=evil)])
    row = runs / "row <script>window.hacked = 1<"
    (row / "pretrain").mkdir(parents=True)
    (row / "pretrain" / "log.jsonl").write_text(json.dumps({"step": 1, "loss": 1.0}) + "\n")
    (row / "pretrain" / "config.yaml").write_text(json.dumps({"method": evil, "recipe": evil, "settings": {"a": evil}}))
    (row / "analysis-x").mkdir()
    (row / "analysis-x" / "spectra.json").write_text("{<script>")
    page = report.page(runs, title=evil)
    Structure(page)
    [config, _, behaviour] = re.findall(r"<script( type=\"application/json\")?>(?!\{\"\$schema)", page)
    assert config and not behaviour and "window.hacked = 1" in text_of(page)


def test_an_empty_folder_gives_a_page_that_says_so(tmp_path, capsys):
    runs = tmp_path / "runs"
    runs.mkdir()
    report.main([str(runs), "--out", str(tmp_path / "report.html")])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    Structure(page)
    words = text_of(page)
    assert "No table: no result.json below" in words and "Nothing was run in this folder yet" in words
    assert "report.html (0.0 MB)" in capsys.readouterr().out


def test_a_run_that_has_just_begun_is_shown_with_what_it_has(quick, tmp_path):
    folder = tmp_path / "byol-demo-seed0" / "pretrain"
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text('{"step": 10, "prediction": 2.0, "target": 1.0}\n{"step": 20, "predi')
    words = text_of(report.page(tmp_path, title="x"))
    assert "byol-demo-seed0: 3" in words  # the loss is the sum of its terms
    assert "○ begun" in words and "could not be read" not in words


def test_a_damaged_file_is_named_and_costs_only_itself(quick, record, runs_of):
    runs = runs_of([record()])
    row = next(path for path in runs.iterdir())
    (row / "analysis-scenes").mkdir()
    (row / "analysis-scenes" / "spectra.json").write_text("[1, 2")
    (row / "moco").mkdir()
    (row / "moco" / "predictions.png").write_bytes(b"no picture")
    words = text_of(report.page(runs, title="x"))
    assert "Files that could not be read" in words and "40.0" in words
    assert f"{row.name}/analysis-scenes/spectra.json" in words and f"{row.name}/moco/predictions.png" in words


OTHER_SHAPES = ["[1]", "null", "{}", '{"values": 3, "panels": 3, "labels": [9], "classes": [], "how": 1}']


@pytest.mark.parametrize("content", OTHER_SHAPES)
def test_content_of_another_shape_is_no_end_of_the_page(quick, record, runs_of, content):
    """Every file that the report reads, with values that none of its writers writes."""
    runs = runs_of([record()])
    row = next(runs.iterdir())
    names = ["pretrain/config.yaml", "pretrain/log.jsonl", "a/spectra.json", "a/effective_rank.json", "a/metrics.json"]
    for name in [*names, "a/run.json", "a/config.yaml", "curves.json", "tsne-2.json", "a/predictions.png"]:
        (row / name).parent.mkdir(exist_ok=True)
        (row / name).write_text(content)
    (runs / "jobs").mkdir()
    (runs / "jobs" / "graph.json").write_text(content)
    assert "40.0" in text_of(report.page(runs, title="x"))


def test_many_rows_are_counted_and_the_first_are_shown(quick, record, tmp_path):
    for k in range(140):
        made = [record("byol", 30.0 + k / 10, variant=f"v{k}")]
        write(tmp_path / f"byol-v{k}-demo-seed0" / "moco-c4-1x-coco_2017" / "result.json", made)
    page = report.page(tmp_path, title="x")
    words = text_of(page)
    assert "The first 100 of 140 measured rows" in words and "The first 60 of 140 rows" in words
    assert "byol/demo/v99/" not in page and len(page) < 500_000


def test_without_job_records_the_settings_tell_the_commands(quick, record, runs_of):
    runs = runs_of([record()])
    folder = next(runs.iterdir()) / "pretrain"
    folder.mkdir()
    settings = {"epochs": 8, "optim": {"lr": 0.1, "clip": None}}
    content = {"method": "matrix_ssl", "recipe": "demo", "settings": settings}
    (folder / "config.yaml").write_text(json.dumps(content))
    words = text_of(report.page(runs, title="x"))
    row = folder.parent.name
    told = f"--method matrix_ssl --recipe demo --out {row}/pretrain epochs=8 optim.lr=0.1 optim.clip=none"
    assert f"python pretrain/train.py {told}" in words
    assert f"--protocol moco-c4-1x --weights {row}/convert/backbone.pkl --benchmark coco_2017" in words


def test_a_protocol_of_several_seeds_has_a_command_and_a_state_for_each(quick, record, tmp_path):
    row = tmp_path / "byol-demo-seed0"
    for seed in (0, 1):
        made = [record("byol", protocol="voc-24k", benchmark="voc_2007_2012", seed=seed)]
        changed = {"scale": 8, "changed_from_protocol": {"SOLVER.MAX_ITER": 90, "INPUT.MIN_SIZE_TRAIN": [480, 512]}}
        write(row / "voc-24k-voc_2007_2012" / f"seed{seed}" / "result.json", made, **changed)
        (row / "voc-24k-voc_2007_2012" / f"seed{seed}" / "run.json").write_text('{"protocol": "voc-24k"}')
        network = "MODEL: {ROI_HEADS: {NUM_CLASSES: 20}}"
        (row / "voc-24k-voc_2007_2012" / f"seed{seed}" / "config.yaml").write_text(network)
        losses = [{"iteration": k, "total_loss": 2 / k} for k in (1, 2, 3)]
        log = "".join(json.dumps(line) + "\n" for line in losses)
        (row / "voc-24k-voc_2007_2012" / f"seed{seed}" / "metrics.json").write_text(log)
    (row / "voc-24k-voc_2007_2012" / "seed2").mkdir()
    assert cost.detectors(RunsFolder(tmp_path)) == [("voc-24k", 20)]
    words = text_of(report.page(tmp_path, title="x"))
    for seed in (0, 1):
        assert (
            f"--protocol voc-24k --weights {row.name}/convert/backbone.pkl --benchmark voc_2007_2012 "
            f"--out {row.name}/voc-24k-voc_2007_2012/seed{seed} --seed {seed} --scale 8 SOLVER.MAX_ITER 90 "
            "INPUT.MIN_SIZE_TRAIN '[480, 512]'"
        ) in words
    curves = training.section(RunsFolder(tmp_path)).body
    assert "Loss, voc-24k-voc_2007_2012" in curves
    assert [f"{row.name}/seed{seed}" in curves for seed in (0, 1, 2)] == [True, True, False]
    states = {state.job.name: state.state for state in jobs.by_hand(RunsFolder(tmp_path))}
    assert states == {
        f"{row.name}/voc-24k-voc_2007_2012/seed{seed}": state
        for seed, state in enumerate((jobs.DONE, jobs.DONE, jobs.MISSING))
    }


def test_the_commands_of_probes_have_what_differed_from_the_protocol(quick, record, tmp_path):
    """A cached linear probe, neighbours of small images, labels by a list: commands that the probes understand."""
    kind = {"task": "classification", "metric": "top1", "benchmark": "scenes"}
    row = tmp_path / "byol-demo-seed0"
    linear = {"changed_from_protocol": {"lr": 0.5, "batch_norm": False, "milestones": [6, 8], "precision": "bf16"}}
    cached = [record("byol", protocol="linear-demo-cached", **kind)]
    write(row / "linear-demo-scenes" / "result.json", cached, **linear)
    votes = {"voting": [[20, 0.07], [200, 0.1]], "bn_statistics": "stored"}
    voting = {"settings": {"size": 64, "resize": None, "crops": "torchvision", **votes}}
    write(row / "knn-scenes" / "result.json", [record("byol", protocol="knn-20", **kind)], **voting)
    listed = {"labelled": {"file": "1percent.txt"}, "changed_from_protocol": {}}
    write(row / "semi-1pct-scenes" / "result.json", [record("byol", protocol="semi-demo-1pct", **kind)], **listed)
    words = text_of(report.page(tmp_path, title="x"))
    common = f"--weights {row.name}/pretrain/backbone.pth --benchmark scenes --out {row.name}"
    assert (
        f"transfer/linear.py --protocol linear-demo {common}/linear-demo-scenes --seed 0 --cached-features lr=0.5 "
        "batch_norm=false 'milestones=[6, 8]' precision=bf16"
    ) in words
    assert (
        f"transfer/knn.py {common}/knn-scenes --seed 0 --size 64 --crops torchvision --bn-statistics stored --k 20,200 "
        "--temperature 0.07,0.1"
    ) in words
    semi = f"transfer/semi.py --protocol semi-demo --fraction 1 {common}/semi-1pct-scenes --seed 0"
    assert f"{semi} --list {row.name}/semi-1pct-scenes/list.txt" in words


def test_the_status_of_slurm_takes_the_place_of_what_the_files_tell(quick, record, runs_of, tmp_path):
    runs, status = runs_of([record()]), tmp_path / "status.json"
    job = {"job": "byol-demo-seed0/pretrain", "row": "byol-demo-seed0", "stage": "pretrain", "state": "failed"}
    status.write_text(json.dumps([{**job, "detail": "CUDA out of memory", "command": "python -m pretrain.train"}]))
    words = text_of(report.page(runs, title="x", status=status))
    assert "failed: byol-demo-seed0/pretrain" in words and "CUDA out of memory" in words and "✗ failed" in words


def test_wrong_calls_are_one_line(refused, tmp_path):
    out = tmp_path / "report.html"
    assert "is not a folder of runs" in refused("analysis/report.py", tmp_path / "nowhere", "--out", out)
    assert "give the name of a file" in refused("analysis/report.py", tmp_path, "--out", tmp_path)
    (tmp_path / "status.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match="is not what slurm/status.py RUNS --json prints"):
        report.page(tmp_path, title="x", status=tmp_path / "status.json")


def test_a_protocol_that_is_no_more_is_said_to_be_not_counted(record, runs_of):
    runs = runs_of([record()])
    folder = next(runs.iterdir()) / "moco-c4-1x-coco_2017"
    (folder / "run.json").write_text('{"protocol": "my-own"}')
    (folder / "config.yaml").write_text('{"MODEL": {"ROI_HEADS": {"NUM_CLASSES": 3}}}')
    words = text_of(report.page(runs, title="x"))
    assert "Not counted, the detector of my-own, 3 classes: unknown protocol 'my-own'; known:" in words
    assert "23.51" in words and "4.11" in words  # the backbone's


READ = ("*.json", "*.jsonl", "*.yaml", "*.png")
"""The files of a runs folder that are read."""


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_file_holds_there_is_a_page_and_a_table(full_runs, changes, quick, capsys, data):
    runs = full_runs
    paths = sorted(path for pattern in READ for path in runs.rglob(pattern))
    path = paths[data.draw(st.integers(0, len(paths) - 1))]
    whole = path.read_bytes()
    if path.suffix == ".jsonl":
        content = [json.loads(line) for line in whole.splitlines()[:3]]
    else:
        content = whole if path.suffix == ".png" else json.loads(whole)  # which yaml is as well
    path.write_bytes(data.draw(changes.contents(content, path.name)))
    try:
        with mock.patch("analysis.figures.save.javascript", lambda: ""):
            Structure(report.page(runs, title="t"))
        changes.readable_or_refused(lambda runs: tables.main([str(runs), "--out", f"{runs}-tables"]), runs)
        changes.readable_or_refused(lambda runs: status.main([str(runs)]), runs)
    finally:
        path.write_bytes(whole)


def test_a_language_model_has_its_losses_certificate_and_rank_drawn(tmp_path, record):
    """Also while it is trained, when there is no result yet; then its answers have a table in the page."""
    folder = tmp_path / "llm-MCE-demo-seed0" / "language"
    folder.mkdir(parents=True)
    lines = [{"step": k, "ce": 2 / k, "mce": 1 / k, "gap": 1e-6, "head_rank": 3.0, "lr": 0.1} for k in range(1, 9)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    body = training.section(RunsFolder(tmp_path)).body
    own = {"task": "language", "metric": "accuracy", "protocol": "metamath", "benchmark": "word-problems-test"}
    write(folder.parent / "word-problems-test" / "result.json", [record("llm", 40.0, variant="MCE", **own)])
    assert report.main([str(tmp_path), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "word-problems-test, language models" in page
    name = folder.parent.name
    command = f"--model {name}/language --benchmark word-problems-test --questions 5000 --out {name}/word-problems-test"
    assert f"python language/evaluate.py {command}" in text_of(page) and "backbone.pkl" not in page
    assert evaluate.parse(command.split()).questions == 5000
    foreign = Result([record("llm", 40.0, recipe="", **own)], {"model": "/models/7b", "prompt": "plain"})
    words = commands.of_result("7b", "gsm8k", foreign)[1:]
    assert (evaluate.parse(words).model.as_posix(), evaluate.parse(words).prompt) == ("/models/7b", "plain")
    for title in ("Cross-entropy", "Matrix cross-entropy", "upper less lower bound", "Effective rank of the head"):
        assert title in body
    assert body.count("llm-MCE-demo-seed0: ") == 4
