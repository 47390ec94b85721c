"""Presets are files of names that exist; the command line has the last word."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.command_line import UserError, printable
from slurm.planning import graph, presets, request, validate
from slurm.planning.experiment import parse_overrides
from slurm.submitting import cluster, submit

LEAST = "methods: [random]\nrecipe: demo\nprotocols: [demo-fpn]\nbenchmarks: [scenes]\n"


@pytest.mark.parametrize("name", presets.available())
def test_every_preset_names_what_exists(name):
    preset = presets.load(name)
    wanted = presets.experiment(preset).with_overrides({"pretrain": {"log.keep_every": "1"}})  # what curves read
    if not preset.embedded_data:
        wanted = wanted.with_overrides({"pretrain": {"data.root": "/somewhere"}, "features": {"images": "/somewhere"}})
    assert validate.faults_of(wanted, graph.closure(["pretrain", "transfer", "analysis", "curves"])) == []
    assert wanted.summary and wanted.rows
    assert graph.build(wanted, ["pretrain", "transfer"])


def test_the_command_line_wins_over_the_preset():
    wanted = presets.experiment(presets.load("demo"), seeds=[0, 1, 2])
    assert wanted.seeds == (0, 1, 2) and wanted.methods == ("simclr",) and set(wanted.variants) == {"untrained"}
    changed = wanted.with_overrides(parse_overrides(["data.images=100", "pretrain.resources.hours=0.5"], graph.STAGES))
    assert changed.settings_for("data")["images"] == "100" and wanted.settings_for("data")["images"] == "3000"
    assert graph.resources_of(changed, "pretrain", graph.STAGES["pretrain"]).hours == 0.5


def test_some_rows_of_a_preset_need_no_settings_of_the_others():
    preset = presets.load("masked-demo")
    for names, left_out in [(["u_mae"], "m_mae"), (["m_mae", "untrained"], "u_mae")]:
        wanted = presets.experiment(preset, methods=names)
        assert f"pretrain@{left_out}" in preset.settings and f"pretrain@{left_out}" not in wanted.settings
        assert validate.faults_of(wanted, graph.closure(["pretrain"]), variants=preset.variants) == []


def test_the_masked_auto_encoders_compare_with_the_network_that_they_start_from():
    jobs = {
        job.name: job for job in graph.build(presets.experiment(presets.load("masked-demo")), ["pretrain", "transfer"])
    }
    rows = {name.split("/")[0]: " ".join(job.argv) for name, job in jobs.items() if job.stage == "pretrain"}
    start, mae = rows.pop("mae+untrained-demo-seed0"), rows["mae-demo-seed0"]
    assert set(rows) == {"mae-demo-seed0", "u_mae-demo-seed0", "m_mae-demo-seed0"}
    assert start.replace("mae+untrained", "mae").replace("epochs=0", "epochs=24") == f"{mae} variant=untrained"
    for row in (*rows, "mae+untrained-demo-seed0"):
        leaves = ("convert", "demo-vitdet-scenes", "knn-scenes", "linear-demo-scenes", "analysis-scenes/effective_rank")
        assert {f"{row}/{leaf}" for leaf in leaves} <= set(jobs)


def test_a_preset_of_the_user_is_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(LEAST + "settings: {pretrain: {optim: {lr: 1}, method.gamma: 0.5, amp: true, steps: [1, 2]}}\n")
    preset = presets.load(str(path))
    assert preset.benchmarks == ("scenes",) and not preset.embedded_data
    settings = presets.experiment(preset).settings_for("pretrain")
    assert settings == {"optim.lr": "1", "method.gamma": "0.5", "amp": "true", "steps": "[1, 2]"}


def test_settings_of_the_stage_that_draws_images_mean_that_they_are_used(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(LEAST + "settings: {data: {images: 64}}\n")
    assert presets.load(str(path)).embedded_data


BOMB = "a: &a [1, 2, 3, 4, 5, 6, 7, 8]\n" + "".join(
    f"{y}: &{y} [{', '.join([f'*{x}'] * 8)}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text, words",
    [
        ("method: [random]\n", ["unknown setting 'method'", "recipe is not given", "benchmarks is not given"]),
        ("methods: {a: 1}\nseeds: [x]\n", ["methods must be a list", "seeds must be a whole number"]),
        ("settings: [1]\n", ["settings must be a group"]),
        ("settings: {pretrain: 3}\n", ["settings.pretrain must be a group"]),
        ("resources: {pretrain: [gpus]}\n", ["resources.pretrain must be a group"]),
        ("variants: [a]\n", ["variants must be a group"]),
        ("variants: {a: {settings: {b: 1}}}\n", ["variants.a.method is not given"]),
        ("knn: scenes\n", ["knn must be a list, got 'scenes'"]),
        ("5\n", ["expected settings"]),
        ("[1, 2\n", ["mine.yaml is no YAML"]),
        (BOMB, ["more than 100,000 values"]),
        ("a: " + "[" * 5000, ["levels"]),
    ],
)
def test_a_preset_that_is_none_is_named_line_by_line(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        presets.load(str(path))
    assert all("mine.yaml" in fault for fault in error.value.faults)
    for word in words:
        assert sum(word in fault for fault in error.value.faults) == 1, error.value.faults


def test_overrides_go_to_their_stage_verbatim_and_every_wrong_one_is_named():
    settings = parse_overrides(["pretrain.optim.lr=0.5", "transfer.A.B=x=y", "pretrain.a=007 #1"], graph.STAGES)
    assert settings == {"pretrain": {"optim.lr": "0.5", "a": "007 #1"}, "transfer": {"A.B": "x=y"}}
    with pytest.raises(UserError) as error:
        parse_overrides(["lr=1", "eval.k=1", "pretrain.--out=1"], graph.STAGES)
    assert len(error.value.faults) == 3 and "unknown stage 'eval'" in error.value.faults[1]


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["1e400"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
NAMES = st.one_of(
    st.sampled_from(["random", "simclr", "scenes", "demo-fpn", "linear-demo", "semi-demo"]), st.text(max_size=6)
)
STAGE = st.one_of(st.sampled_from([*graph.STAGES, "pretrain@simclr", "tsne@simclr"]), st.text(max_size=6))
KEY = st.one_of(
    st.sampled_from(["data", "data.root", "seed", "out", "epochs", "optim.lr", "gpus"]), st.text(max_size=6)
)
GROUPS = st.dictionaries(STAGE, st.dictionaries(KEY, VALUES, max_size=2), max_size=2)
PRESET = st.fixed_dictionaries(
    {"methods": st.lists(NAMES, max_size=2), "recipe": st.one_of(st.just("demo"), st.text(max_size=6))},
    optional={
        **{
            key: st.lists(NAMES, max_size=2) for key in ("protocols", "benchmarks", "knn", "linear", "semi", "features")
        },
        "settings": GROUPS,
        "resources": GROUPS,
        "seeds": st.lists(st.integers(-1, 3), max_size=2),
        "variants": st.dictionaries(NAMES, st.fixed_dictionaries({"method": NAMES, "settings": GROUPS}), max_size=2),
        "embedded_data": st.booleans(),
    },
)


@given(content=st.one_of(PRESET, PRESET, PRESET, VALUES, st.fixed_dictionaries({"recipe": VALUES, "settings": VALUES})))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_a_preset_holds_it_is_a_graph_or_faults_of_one_line(tmp_path_factory, content):
    """The values are those that yaml can hold; their text is the reader's own matter."""
    path = tmp_path_factory.mktemp("preset") / "mine.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        request.resolve(
            ["pretrain", "transfer", "analysis"],
            preset=str(path),
            overrides=[],
            cluster_name="slurm",
            runs=path.parent / "runs",
            registry=graph.STAGES,
        )
    except UserError as error:
        assert error.faults and all("\n" not in printable(fault) for fault in error.faults)


@given(content=st.dictionaries(st.sampled_from(sorted(cluster.Cluster.__dataclass_fields__)), VALUES, max_size=5))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_a_cluster_file_holds_it_is_scripts_or_faults_of_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("cluster") / "mine.yaml"
    path.write_text(json.dumps({"executor": "slurm", **content}), encoding="utf-8")
    try:
        wanted = request.resolve(
            ["pretrain"], preset="demo", overrides=[], cluster_name=str(path), runs=path.parent, registry=graph.STAGES
        )
        submit.scripts(path.parent, wanted.jobs, done=set(), cluster=wanted.cluster, code=path.parent)
    except UserError as error:
        assert error.faults
