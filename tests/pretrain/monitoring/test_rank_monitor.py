import json

import pytest
import torch
from PIL import Image

from pretrain import backbones, train
from pretrain.data import datasets
from pretrain.data.views import IMAGENET_MEAN, IMAGENET_STD, normalise
from pretrain.losses.class_ranks import intra_class, total
from pretrain.monitoring.rank_monitor import PER_CLASS, RankMonitor, monitor_of
from runtime.command_line import UserError

INPUT = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
CPU = torch.device("cpu")


class Classes:
    """``counts[k]`` images of one grey each, of class k."""

    def __init__(self, *counts: int):
        self.labels = [k for k, count in enumerate(counts) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> Image.Image:
        return Image.new("RGB", (12, 10), (place % 256,) * 3)


def test_as_many_images_of_each_of_the_first_classes_that_have_them():
    probe = monitor_of(Classes(40, 5, 40, 40), count=2 * PER_CLASS + 1, size=8, **INPUT)
    assert probe.pixels.shape == (64, 3, 8, 8)
    assert probe.labels.tolist() == [0] * 32 + [2] * 32
    again = monitor_of(Classes(40, 5, 40, 40), count=2 * PER_CLASS + 1, size=8, **INPUT)
    assert torch.equal(probe.pixels, again.pixels)


def test_without_two_such_classes_the_total_alone():
    probe = monitor_of(Classes(40, 5), count=20, size=8, **INPUT)
    assert len(probe.pixels) == 20 and probe.labels is None
    with pytest.raises(UserError, match="needs at least 2 images"):
        monitor_of(Classes(40), count=1, size=8, **INPUT)


def test_ranks_are_those_of_the_features_and_the_network_stays_as_it_was():
    pixels = torch.randint(256, (70, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(2).repeat_interleave(35)
    network = backbones.untrained(seed=0).train()
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    found = RankMonitor(pixels, labels, **INPUT)(network, CPU, "fp32")
    assert network.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    with torch.no_grad():
        h = network.eval()(normalise(pixels)).double()
    assert found["rank_total"] == pytest.approx(total(h).item(), rel=1e-3)
    assert found["rank_intra"] == pytest.approx(intra_class(h, labels).item(), rel=1e-3)


def _probe():
    import torch

    from pretrain import backbones
    from pretrain.monitoring.rank_monitor import RankMonitor

    pixels = torch.randint(256, (7, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    probe = RankMonitor(pixels, None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return probe(backbones.untrained(seed=0).train(), torch.device("cpu"), "fp32")["rank_total"]


def test_two_processes_share_an_odd_number_of_images(ranks):
    assert ranks(2, _probe) == pytest.approx([_probe()] * 2, rel=1e-4)


@pytest.mark.slow
def test_a_run_logs_the_ranks_of_its_probe_and_trains_as_without(scenes, tmp_path):
    """Two runs, one with a probe of labelled images: the same losses, and ranks in the log of one."""
    lines = {}
    for name, pairs in {
        "plain": [],
        "probed": ["log.probe_every=2", f"log.probe_root={scenes / 'unlabelled'}"],
    }.items():
        call = ["--method", "simsiam", "--recipe", "demo", "--out", str(tmp_path / name), "epochs=1", "batch_size=24"]
        call += [f"data.root={scenes / 'unlabelled'}", "data.workers=0", "log.every=1", "log.probe_images=8"]
        call += ["method.projector_width=32", "method.predictor_width=16", "precision=fp32"]
        assert train.main([*call, *pairs]) == 0
        log = (tmp_path / name / "log.jsonl").read_text().splitlines()
        lines[name] = [json.loads(line) for line in log]
    assert [line["similarity"] for line in lines["plain"]] == [line["similarity"] for line in lines["probed"]]
    assert [line.get("rank_total", 0) > 0 for line in lines["probed"]] == [False, True]
    assert not any("rank_total" in line for line in lines["plain"])


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "1.png").write_bytes(b"broken")
    Image.new("RGB", (8, 8)).save(tmp_path / "2.png")
    with pytest.raises(UserError, match="1.png cannot be read; repair it, or give log.probe_root"):
        monitor_of(datasets.ImageFolder(tmp_path), count=2, size=8, **INPUT)
