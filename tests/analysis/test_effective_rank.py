import json
import math

import pytest
import torch

from analysis import effective_rank
from analysis.extraction import feature_file
from analysis.measures import effective_rank as measures
from pretrain.losses import matrix_information as mi
from runtime import results
from runtime.command_line import UserError


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("ridge", [None, 1.0])
def test_batch_mce_is_eq8_between_unit_rows_and_the_uniform_matrix(ridge):
    z = torch.nn.functional.normalize(rows(300, 12), dim=1)
    S, one, lam = z.T @ z / 300, torch.eye(12, dtype=torch.float64), ridge or 1 / 12
    expected = mi.matrix_cross_entropy(one / 12 + lam * one, S + lam * one)
    assert measures.batch_mce(3 * z, ridge=ridge).item() == pytest.approx(expected.item())


def test_batch_mce_is_least_for_rows_spread_over_all_directions():
    spread = measures.batch_mce(torch.eye(16, dtype=torch.float64))
    least = 2 * (1 - math.log(2 / 16))
    assert spread.item() == pytest.approx(least)
    assert measures.batch_mce(torch.ones(16, 16, dtype=torch.float64)) > spread


def test_batch_mce_takes_batches_of_512():
    """A thousand rows: 512 of them, chosen by the seed."""
    h = rows(1000, 4)
    assert measures.batch_mce(h, seed=1) == measures.batch_mce(h, seed=1)
    assert measures.batch_mce(h, seed=1) != measures.batch_mce(h, seed=2)


def test_batch_mce_leaves_out_a_last_batch_that_is_not_full():
    whole = torch.eye(8, dtype=torch.float64).repeat(64, 1)  # 512 rows, evenly over 8 directions
    ends_odd = torch.cat([whole, torch.eye(8, dtype=torch.float64)[:1]])
    assert measures.batch_mce(ends_odd).item() == pytest.approx(measures.batch_mce(whole).item(), rel=1e-3)


def test_a_rank_that_reads_off_n_is_marked():
    y = torch.arange(2).repeat_interleave(20)
    wide, narrow = rows(40, 500), torch.cat([rows(40, 2), 1e-6 * rows(40, 98)], 1)
    total, intra = measures.measure(wide, y, resamples=0)["warnings"]
    assert "rank-intra-cov" in intra and "close to its bound n - 1 = 19" in intra
    assert "rank-total-cov" in total and "close to its bound n - 1 = 39" in total
    assert measures.measure(wide, None, resamples=0)["warnings"] == [total]
    assert measures.measure(narrow, y, resamples=0)["warnings"] == []


def test_a_rank_that_still_grows_with_n_is_marked():
    y = torch.arange(2).repeat_interleave(100)
    total, intra = measures.measure(rows(200, 60), y, resamples=0)["warnings"]
    assert "rank-total-cov still grows with n" in total and "at 100 images, " in total
    assert "rank-intra-cov still grows with n" in intra and "at 50 images a class" in intra


def test_total_collapse_is_marked():
    h = torch.ones(40, 8, dtype=torch.float64) + 1e-9 * rows(40, 8)
    found = measures.measure(h, None, resamples=0)
    assert "all but equal" in found["warnings"][-1] and found["values"]["rank-total-cov"] > 5
    dead = measures.measure(torch.zeros(40, 8, dtype=torch.float64), None, resamples=0)
    assert dead["values"]["spread"] == dead["values"]["rank-total-cov"] == 0 and len(dead["warnings"]) == 1


def test_interval_covers_the_value_and_narrows_with_images():
    widths = []
    for n in (20, 320):
        y = torch.arange(4).repeat_interleave(n)
        found = measures.measure(rows(4 * n, 6), y, resamples=30)
        low, high = found["intervals"]["rank-inter-cov"]
        assert low < found["values"]["rank-inter-cov"] < high
        widths.append(found["intervals"]["rank-total-cov"][1] - found["intervals"]["rank-total-cov"][0])
    assert widths[1] < widths[0] / 2


def test_no_interval_reaches_beyond_what_a_rank_can_be():
    """Three classes of four images: 2 between the class means, 3 within a class, 11 in all."""
    y, h = torch.arange(3).repeat_interleave(4), rows(12, 40)
    intervals = measures.measure(h, y, resamples=20)["intervals"]
    assert all(low >= 1 for low, _ in intervals.values())
    assert intervals["rank-inter-cov"][1] <= 2 and intervals["rank-intra-cov"][1] <= 3
    assert intervals["rank-total-cov"][1] <= 11


ABOUT = {"method": "mine", "recipe": "demo", "variant": "", "epochs": 3, "seed": 1, "step": 9, "weights_sha256": "aa"}
ABOUT |= {"benchmark": "scenes", "layer": "backbone", "settings": {}, "commit": "x"}


def features(path, h, labels, classes):
    names = [f"{i}.png" for i in range(len(h))]
    feature_file.write(path, h, labels=labels, names=names, views=None, about={**ABOUT, "classes": classes})
    return str(path)


def test_records_name_definition_and_n(tmp_path, capsys):
    path = features(tmp_path / "f.safetensors", rows(25, 6).float(), [0] * 10 + [1] * 15, ["cat", "dog"])
    effective_rank.main([path, "--out", str(tmp_path), "--resamples", "5"])
    records = {record.metric: record for record in results.read(tmp_path / "result.json")}
    assert {"rank-intra-cov", "rank-intra-sv", "rank-inter-cov", "rank-total-sv", "mce-512"} <= records.keys()
    record = records["rank-intra-cov"]
    assert (record.method, record.task, record.protocol, record.n) == (
        "mine",
        "representation",
        "features-backbone",
        20,
    )
    assert json.loads((tmp_path / "effective_rank.json").read_text())["n_per_class"] == 10
    assert "n: 20 images, 10 of each of 2 classes" in capsys.readouterr().out


def test_unlabelled_features_have_a_total_only(tmp_path):
    path = features(tmp_path / "f.safetensors", rows(9, 4), [-1] * 9, [])
    effective_rank.main([path, "--out", str(tmp_path), "--resamples", "0"])
    metrics = {record.metric for record in results.read(tmp_path / "result.json")}
    assert metrics == {"rank-total-cov", "rank-total-sv", "mce-512", "spread"}


@pytest.mark.parametrize(
    ("labels", "extra", "message"),
    [
        ([0] * 5 + [1], [], "class 'dog' has 1 of the 2 images"),
        ([0] * 6, [], r"has one class \(cat\)"),
        ([0, 0, 0, 1, 1, 1], ["--per-class", "4"], "between 2 and the 3 images"),
        ([-1] * 6, ["--per-class", "2"], "has no labels"),
        ([0, 0, 0, 1, 1, 1], ["--resamples", "1"], "0 or at least 2"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, labels, extra, message):
    path = features(tmp_path / "f.safetensors", rows(6, 4), labels, ["cat", "dog"])
    with pytest.raises(UserError, match=message):
        effective_rank.main([path, "--out", str(tmp_path), *extra])
    assert not (tmp_path / "effective_rank.json").exists()
