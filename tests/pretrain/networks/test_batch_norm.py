"""Batch norm over groups; over the global batch it is tested in test_distributed.py."""

import pytest
import torch
from torch import nn

from pretrain.backbones import resnet
from pretrain.networks import batch_norm
from runtime import distributed

IMAGES = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 9)[:, None, None, None]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.Flatten(), nn.BatchNorm1d(80, affine=False))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_each_group_is_normalised_as_if_it_were_the_batch(groups):
    alone, grouped = network(), batch_norm.in_groups(network(), groups)
    expected = torch.cat([alone(part) for part in IMAGES.chunk(groups)])
    assert torch.allclose(grouped(IMAGES), expected, atol=1e-6)


def test_running_statistics_follow_the_mean_over_groups_in_one_step():
    grouped = batch_norm.in_groups(network(), 2)
    twins = [network() for _ in range(2)]
    for twin, part in zip(twins, IMAGES.chunk(2), strict=True):
        twin(part)
    grouped(IMAGES)
    for name in ("running_mean", "running_var"):
        mean = (getattr(twins[0][1], name) + getattr(twins[1][1], name)) / 2
        assert torch.allclose(getattr(grouped[1], name), mean, atol=1e-6)
    assert grouped[1].num_batches_tracked == 1


def test_it_answers_to_the_names_of_the_batch_norm_it_stands_in_for():
    trunk = batch_norm.in_groups(resnet.resnet(), 2)
    plain = resnet.resnet()
    assert list(trunk.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(trunk.state_dict())
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(trunk.eval()(x), plain.eval()(x), atol=1e-6)


def test_it_is_left_alone_where_batch_norm_is_synchronised_over_ranks(ranks):
    for kind, statistics in ranks(2, statistics_of_a_rank):
        assert kind == "GroupedBatchNorm"
        whole = batch_norm.in_groups(network(), 4)
        whole(IMAGES)
        assert torch.allclose(torch.from_numpy(statistics), whole[1].running_var, atol=1e-5)


def statistics_of_a_rank():
    grouped = batch_norm.synchronise(batch_norm.in_groups(network(), 2), torch.device("cpu"))
    grouped(IMAGES.chunk(2)[distributed.rank()])
    batch_norm.average_statistics(grouped)
    return type(grouped[1]).__name__, grouped[1].running_var.numpy()
