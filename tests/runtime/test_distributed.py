import copy

import pytest
import torch
from torch import nn

from runtime import distributed
from runtime.command_line import UserError

GLOBAL = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def small_network() -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Sequential(
        nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4), nn.BatchNorm1d(4, affine=False)
    )
    return layers.double()


def loss_of(z):
    """Not a mean over rows: every row meets every other, as in a Gram matrix."""
    return (z @ z.T).pow(3).sum() / len(z) ** 2


def gradients_of_a_rank():
    from torch.nn.parallel import DistributedDataParallel

    from pretrain.networks import batch_norm
    from runtime import distributed

    share = len(GLOBAL) // distributed.world_size()
    mine = GLOBAL[distributed.rank() * share :][:share]
    network = batch_norm.synchronise(small_network(), torch.device("cpu"))
    parallel = DistributedDataParallel(network)  # kept: its gradient hooks go with it
    z = distributed.gather(parallel(mine))
    loss_of(z).backward()
    return [p.grad.numpy() for p in network.parameters()], network[1].running_var.numpy(), z.detach().numpy()


@pytest.mark.parametrize("world", [2, 4])
def test_gradients_over_ranks_equal_those_of_one_process(ranks, world):
    """Batch statistics, gather and DDP together: the same embeddings, gradients and BN buffers as the whole batch."""
    network = small_network()
    z = network(GLOBAL)
    loss_of(z).backward()
    for gradients, running_var, gathered in ranks(world, gradients_of_a_rank):
        assert torch.allclose(torch.from_numpy(gathered), z, atol=1e-12)
        assert torch.allclose(torch.from_numpy(running_var), network[1].running_var, atol=1e-12)
        for mine, expected in zip(gradients, network.parameters(), strict=True):
            assert torch.allclose(torch.from_numpy(mine), expected.grad, atol=1e-10)


def matrix_ssl_gradients(images):
    from torch.nn.parallel import DistributedDataParallel

    from pretrain.methods import Embeddings, matrix_ssl
    from pretrain.networks import batch_norm
    from runtime import distributed

    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    trunk.append(nn.Linear(8, 2048))
    trunk.width = 2048
    method = matrix_ssl.Method(trunk.double(), matrix_ssl.Config(projector_width=16, predictor_width=8)).double()
    method = batch_norm.synchronise(method, torch.device("cpu"))
    share = len(images) // distributed.world_size()
    mine = images[distributed.rank() * share :][:share]
    parallel = DistributedDataParallel(method) if distributed.world_size() > 1 else method
    local = parallel([mine, mine.flip(3)])
    gathered = Embeddings(*(tuple(distributed.gather(z) for z in branch) for branch in local[:2]))
    terms = method.loss_terms(gathered)
    sum(terms.values()).backward()
    return sum(terms.values()).item(), {n: p.grad.numpy() for n, p in method.named_parameters() if p.grad is not None}


def test_matrix_ssl_over_two_ranks_is_matrix_ssl_on_the_whole_batch(ranks):
    images = torch.randn(8, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    loss, expected = matrix_ssl_gradients(images)
    assert not any(name.startswith("teacher") for name in expected)
    for rank_loss, gradients in ranks(2, matrix_ssl_gradients, images):
        assert rank_loss == pytest.approx(loss, abs=1e-6)
        assert gradients.keys() == expected.keys()
        for name in expected:
            assert abs(gradients[name] - expected[name]).max() < 1e-6, name


def test_single_process_needs_no_group():
    z = torch.ones(2, 3)
    assert distributed.gather(z) is z and distributed.is_main() and distributed.world_size() == 1
    assert torch.equal(distributed.mean(z), z) and distributed.any_rank(True, z.device)


def test_half_set_environment_names_what_is_missing(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    for name in ("WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="sets RANK but not WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT"):
        distributed.init("cpu")


def test_slurm_tasks_become_ranks(monkeypatch, capsys):
    for name in (*distributed.TORCHRUN, "JOB_KEY"):
        monkeypatch.delenv(name, raising=False)
    slurm = {"NTASKS": "4", "PROCID": "3", "LOCALID": "1", "JOB_ID": "1234567", "STEP_NODELIST": "node1,node2"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    found = distributed._rank_info()
    assert (found.rank, found.world_size, found.local_rank, found.host) == (3, 4, 1, "node1")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert distributed._rank_info().key != found.key, "a requeued job must not meet what is left of its former self"
    monkeypatch.delenv("SLURM_STEP_NODELIST")  # SLURM gives a batch script all the rest, and it is one process
    assert distributed._rank_info() is None
    assert "runs alone" in capsys.readouterr().err


def test_batch_norm_stays_itself_with_one_process():
    from pretrain.networks import batch_norm

    network = small_network()
    assert batch_norm.synchronise(copy.copy(network), torch.device("cpu"))[1].__class__ is nn.BatchNorm1d
