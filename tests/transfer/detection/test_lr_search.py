"""The rate is chosen on held-out training images; the tuned row never stands under the protocol's own name."""

import json

import pytest
import torch

from runtime import results
from runtime.command_line import UserError
from transfer import train
from transfer.datasets import subset
from transfer.datasets.benchmarks import Paths, Split
from transfer.detection import lr_search, run_config
from transfer.detection.fine_tuning import Diverged, RunSpec


class Pretended:
    """Stands for a run: its AP is 10 at the rate 0.04 and falls with the distance from it; above 1 it diverges."""

    done: list[str] = []

    def __init__(self, spec: RunSpec):
        self.spec, self.out = spec, spec.out
        self.cfg = run_config.load(spec.protocol, base_lr=spec.base_lr, scale=spec.scale)

    def prepare(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)

    @property
    def is_complete(self) -> bool:
        return (self.out / self.spec.result).exists()

    def tidy(self) -> None:
        pass

    def execute(self, *, eval_only: bool = False) -> None:
        rate = self.cfg.SOLVER.BASE_LR * self.spec.scale
        if rate > 1:
            raise Diverged("fine-tuning diverged")
        Pretended.done.append(str(self.out.name))
        about = {"method": "mec", "recipe": "", "epochs": 1, "benchmark": self.spec.paths.name, "commit": "c", "n": 4}
        about |= {"protocol": self.spec.label or self.spec.protocol, "seed": 0, "weights_sha256": ""}
        records = results.flatten({"bbox": {"AP": 10 - 100 * abs(rate - 0.04)}}, **about)
        results.write(self.out / self.spec.result, records)


@pytest.fixture
def spec(tmp_path, scenes):
    Pretended.done = []
    halves = [Split(scenes / f"detection/{half}.json", scenes / f"detection/{half}") for half in ("train", "val")]
    return RunSpec(
        protocol="moco-c4-1x",
        overrides={},
        paths=Paths("scenes", *halves),
        weights="random",
        out=tmp_path / "out",
        seed=0,
        device=torch.device("cpu"),
    )


def rows(spec) -> dict[str, float]:
    found = [record for path in sorted(spec.out.rglob("result.json")) for record in results.read(path)]
    return {record.protocol: record.value for record in found}


def test_both_rows_are_made_the_tuned_one_under_a_name_of_its_own(spec):
    lr_search.search(spec, [0.01, 0.05, 7.0], make=Pretended)
    assert rows(spec) == {"moco-c4-1x": pytest.approx(8), "moco-c4-1x+lr": pytest.approx(9)}
    assert Pretended.done == ["lr-0.01", "lr-0.05", "tuned", "out"], "the plain result comes last"
    said = json.loads((spec.out / "search/search.json").read_text())
    assert said["held_out_ap"] == {"0.01": pytest.approx(7), "0.05": pytest.approx(9), "7": None}
    assert (said["chosen"], said["protocol"]) == (0.05, 0.02)


def test_a_finished_search_does_nothing_again_and_an_interrupted_one_goes_on(spec):
    lr_search.search(spec, [0.01, 0.05], make=Pretended)
    (spec.out / "result.json").unlink()
    (spec.out / "search/lr-0.05/held_out.json").unlink()
    Pretended.done = []
    lr_search.search(spec, [0.01, 0.05], make=Pretended)
    assert Pretended.done == ["lr-0.05", "out"]


def test_where_the_protocols_rate_is_best_its_figures_are_the_tuned_ones_too(spec):
    lr_search.search(spec, [0.001, 0.02], make=Pretended)
    assert rows(spec) == {"moco-c4-1x": pytest.approx(8), "moco-c4-1x+lr": pytest.approx(8)}
    assert "tuned" not in Pretended.done
    assert results.context(spec.out / "tuned/result.json")["same_run_as"] == str(spec.out / "result.json")


def test_rates_are_for_the_protocols_own_batch(spec):
    scaled = RunSpec(**{**vars(spec), "scale": 4})
    lr_search.search(scaled, [0.02, 0.04], make=Pretended)
    assert rows(spec) == {"moco-c4-1x": pytest.approx(8), "moco-c4-1x+lr": pytest.approx(10)}


def test_the_halves_share_no_image_and_a_tenth_is_held_out(spec):
    halves = lr_search.held_out(spec.paths, spec.out)
    train_half, held = (json.loads(half.json.read_text()) for half in (halves.train, halves.val))
    names = [{image["file_name"] for image in half["images"]} for half in (train_half, held)]
    assert (len(names[0]), len(names[1]), names[0] & names[1]) == (22, 2, set())
    again = lr_search.held_out(spec.paths, spec.out / "again")
    assert again.val.json.read_text() == halves.val.json.read_text()


def test_the_halves_are_of_the_annotations_as_they_are_now(spec):
    folder = spec.out / "search"
    before = lr_search.held_out(spec.paths, folder)
    written = before.train.json.stat().st_mtime_ns
    assert lr_search.held_out(spec.paths, folder).train.json.stat().st_mtime_ns == written
    content = json.loads(spec.paths.train.json.read_text())
    for entry in content["annotations"]:
        entry["bbox"][0] += 1
    changed = spec.out / "changed.json"
    changed.write_text(json.dumps(content))
    now = lr_search.held_out(Paths("scenes", Split(changed, spec.paths.train.images), spec.paths.val), folder)
    known = {entry["id"]: entry for entry in content["annotations"]}
    held = [entry for half in (now.train, now.val) for entry in json.loads(half.json.read_text())["annotations"]]
    assert len(held) == len(known) and all(entry == known[entry["id"]] for entry in held)


def test_a_tenth_without_an_object_is_one_line(spec):
    content = json.loads(spec.paths.train.json.read_text())
    inside = {image["id"] for image in subset.split(content, 0.1, salt=subset.HELD_OUT)[0]["images"]}
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] not in inside]
    spec.out.mkdir()
    (spec.out / "train.json").write_text(json.dumps(content))
    paths = Paths("scenes", Split(spec.out / "train.json", spec.paths.train.images), spec.paths.val)
    with pytest.raises(UserError, match="has no object to choose a rate by; leave --search-lr out"):
        lr_search.held_out(paths, spec.out / "search")


def test_a_search_in_which_every_rate_diverges_is_one_line(spec):
    with pytest.raises(UserError, match="diverged at every rate of --search-lr 2,3; search lower ones"):
        lr_search.search(spec, [2.0, 3.0], make=Pretended)


@pytest.mark.parametrize("text", ["0.02,0.02", "0.02,2e-2", "0.02,fast", "0,0.1", "nan"])
def test_a_wrong_list_of_rates_is_one_line(text):
    words = ["--protocol", "demo-fpn", "--benchmark", "scenes", "--weights", "random", "--out", "x", "--search-lr"]
    with pytest.raises(UserError, match="--search-lr: "):
        train.parse([*words, text])


def test_a_real_search_on_the_command_line(tmp_path, command, capsys):
    out = tmp_path / "out"
    assert train.main([*command(out, SOLVER__MAX_ITER=1), "--search-lr", "0.02", "--scale", "4"]) == 0
    said = capsys.readouterr()
    assert "learning rate 0.02 of 0.02 (the protocol's is 0.02)" in said.out
    assert "scale 4: batch 2, learning rate 0.005, 1 iterations (protocol: batch 8, learning rate 0.02" in said.err
    names = {
        path.relative_to(out).as_posix() for path in out.rglob("*.json") if "result" in path.name or "held" in path.name
    }
    assert names == {"result.json", "tuned/result.json", "search/lr-0.02/held_out.json"}
    context = json.loads((out / "result.json").read_text())
    assert (context["scale"], context["schedule"]) == (4, "batch 2, learning rate 0.005, 1 iterations")


def test_a_search_cannot_only_evaluate():
    words = "--protocol demo-fpn --benchmark scenes --weights random --out x --search-lr 0.1"
    with pytest.raises(UserError, match="leave --search-lr out"):
        train.main([*words.split(), "--eval-only"])
