from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pretrain.methods import Embeddings, moco_v2
from pretrain.networks import batch_norm, batch_shuffle
from runtime import distributed
from runtime.command_line import UserError

# lightly 1.6.0 in float64, values and gradients
LIGHTLY = np.load(Path(__file__).parents[1] / "losses/lightly_losses.npz")


def build(**settings) -> moco_v2.Method:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    small = {"projector_width": 16, "output_width": 4, "queue_size": 16, "bn_groups": 2} | settings
    trunk = nn.Sequential(*layers, nn.Linear(8, 24))
    trunk.width = 24
    return moco_v2.Method(trunk, moco_v2.Config(**small))


def images(n: int = 8) -> torch.Tensor:
    """Image i is i + 1 times as bright as the first, so that groups of them differ."""
    noise = torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return noise * torch.arange(1.0, n + 1)[:, None, None, None]


def forward(network: moco_v2.Method, *views: torch.Tensor) -> Embeddings:
    return network(*network.prepare(list(views)))


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_equals_lightly_with_its_memory_bank(shape):
    q, k, queue = (torch.from_numpy(LIGHTLY[f"{shape}_{name}"]) for name in ("z1", "z2", "queue"))
    loss = moco_v2.info_nce(q.requires_grad_(), k.requires_grad_(), queue, temperature=0.2)
    loss.backward()
    assert loss.item() == pytest.approx(LIGHTLY[f"{shape}_moco_t0.2"], abs=1e-9)
    reference = torch.from_numpy(LIGHTLY[f"{shape}_moco_t0.2_dz1"])
    torch.testing.assert_close(q.grad, reference, rtol=0, atol=1e-9)
    assert k.grad is None  # a key does not learn


def test_known_states_have_their_known_values():
    """A key at the query, K others across from it: log(1 + K exp(-2 / T)). All at one point: log(1 + K)."""
    q = torch.tensor([[1.0, 0.0]] * 3)
    for queue, expected in ((-q[:1].repeat(7, 1), np.log(1 + 7 * np.exp(-2 / 0.5))), (q[:1].repeat(7, 1), np.log(8))):
        assert moco_v2.info_nce(3 * q, q, queue, temperature=0.5).item() == pytest.approx(expected, rel=1e-5)


def test_neither_the_order_of_images_nor_of_the_queue_nor_any_length_matters():
    q, k, queue = (torch.from_numpy(LIGHTLY[f"tall_{name}"]) for name in ("z1", "z2", "queue"))
    loss = moco_v2.info_nce(q, k, queue, temperature=0.2)
    for other in ((q.flip(0), k.flip(0), queue), (q, k, queue.flip(0)), (3 * q, k / 2, queue)):
        assert torch.isclose(moco_v2.info_nce(*other, temperature=0.2), loss)


def test_the_queue_holds_the_last_keys_and_the_oldest_leave_first():
    network = build()
    at_first, steps = network.queue.clone(), torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0))
    for number, keys in enumerate(steps):
        before = network.queue.clone()
        network.loss_terms(Embeddings((keys,), (keys,)))
        assert torch.equal(before, network.queue)  # the step's own keys are not among its negatives
        network.after_step(number / 3)
    unit = F.normalize(steps, dim=2)
    assert torch.equal(network.queue[0], torch.cat([unit[2], unit[1]]))  # 16 places: the first step's are gone
    assert torch.allclose(at_first.norm(dim=2), torch.ones(1, 16))
    assert {"queue", "steps"} <= set(network.state_dict())


def test_the_key_encoder_follows_by_a_constant_momentum():
    network = build(teacher_momentum=0.9)
    network.loss_terms(forward(network, images(), images()))
    for progress in (0.0, 0.5, 1.0):
        with torch.no_grad():
            network.backbone[0].weight += 1
        before = network.teacher["backbone"][0].weight.clone()
        network.after_step(progress)
        expected = 0.9 * before + 0.1 * network.backbone[0].weight
        assert torch.allclose(network.teacher["backbone"][0].weight, expected, atol=1e-6)


def test_the_momentum_of_v2_plus_rises_along_half_a_cosine():
    network = build(teacher_momentum=0.9, teacher_momentum_end=1.0)
    network.loss_terms(forward(network, images(), images()))
    for progress, rate in ((0.0, 0.9), (0.5, 0.95), (1.0, 1.0)):
        before = network.teacher["backbone"][0].weight.clone()
        with torch.no_grad():
            network.backbone[0].weight += 1
        expected = rate * before + (1 - rate) * network.backbone[0].weight
        network.after_step(progress)
        assert torch.allclose(network.teacher["backbone"][0].weight, expected, atol=1e-6)


def test_symmetric_both_views_ask_and_each_has_the_keys_of_the_other_in_its_queue():
    """Without batch statistics: the mean of the two directions, each of which is plain MoCo."""
    first, second = images(), images().flip(3)
    network, plain = build(symmetric=True).eval(), build().eval()
    plain.load_state_dict(network.state_dict() | {"queue": network.queue[:1]})
    embeddings = forward(network, first, second)
    one_way = forward(plain, first, second)
    assert torch.allclose(embeddings.online[0], one_way.online[0]) and len(embeddings.target) == 2
    assert torch.allclose(embeddings.target[0], one_way.target[0], atol=1e-6)
    losses = [plain.loss_terms(one_way)["contrastive"]]
    plain.queue.copy_(network.queue[1:])
    losses.append(plain.loss_terms(forward(plain, second, first))["contrastive"])
    assert torch.isclose(network.loss_terms(embeddings)["contrastive"], sum(losses) / 2)
    network.after_step(0.5)
    for queue, keys in zip(network.queue, embeddings.target, strict=True):
        assert torch.allclose(queue[:8], F.normalize(keys, dim=1))


def test_every_key_belongs_to_its_image_whatever_the_order():
    """Without batch statistics a key is a function of its image alone, and the shuffle leaves no trace."""
    network = build().eval()
    expected = network.teacher["projector"](network.teacher["backbone"](images()))
    for step in range(3):
        network.done.set(step)
        assert torch.allclose(forward(network, images(), images()).target[0], expected, atol=1e-6)


def test_in_training_a_key_depends_on_the_neighbours_it_was_shuffled_among():
    network = build()
    keys = []
    for step in range(2):
        network.done.set(step)
        keys.append(forward(network, images(), images()).target[0])
    assert not torch.allclose(*keys, atol=1e-4)


def shuffle_of_a_rank(seed: int):
    mine = torch.arange(4) + 4 * distributed.rank()
    rows = mine[:, None, None, None].expand(-1, 3, 2, 2).float().contiguous(memory_format=torch.channels_last)
    order = batch_shuffle.random_order(8, seed)
    there = batch_shuffle.shuffled(rows, order)
    return there[:, 0, 0, 0].tolist(), batch_shuffle.restored(there, order)[:, 0, 0, 0].tolist()


def test_the_shuffle_mixes_the_ranks_and_the_way_back_restores_them(ranks):
    mixed = []
    for seed in range(3):
        (first, back_0), (second, back_1) = ranks(2, shuffle_of_a_rank, seed)
        assert sorted(first + second) == list(range(8)) and first + second != list(range(8))
        assert back_0 == [0, 1, 2, 3] and back_1 == [4, 5, 6, 7]
        mixed.append(set(first) != {0, 1, 2, 3} and set(first) != {4, 5, 6, 7})
    assert all(mixed)


def keys_of_a_rank():
    network = batch_norm.synchronise(build(), torch.device("cpu"))
    mine = images().chunk(distributed.world_size())[distributed.rank()]
    return [z.detach().numpy() for z in (*forward(network, mine, mine).online, *forward(network, mine, mine).target)]


def test_two_ranks_are_two_groups_of_one_process(ranks):
    """Per-rank batch norm on two ranks, or two groups on one: the same queries, the same keys for the images."""
    for of_ranks, of_one in zip(zip(*ranks(2, keys_of_a_rank), strict=True), keys_of_a_rank(), strict=True):
        assert np.allclose(np.concatenate(of_ranks), of_one, atol=1e-5)


def refusal_of_a_rank() -> str:
    try:
        build(bn_groups=3)
    except UserError as error:
        return str(error)


def test_groups_that_the_processes_cannot_share_are_refused_at_the_start(ranks):
    assert all(
        "method.bn_groups=3 must be a multiple of the 2 processes" in text for text in ranks(2, refusal_of_a_rank)
    )
