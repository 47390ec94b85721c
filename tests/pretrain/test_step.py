"""A steady step does not wait for the device, and what it must know it learns soon enough."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pretrain import methods, training_loop
from pretrain.config import TrainConfig, resolve
from pretrain.data import datasets
from pretrain.monitoring.late_reads import EVERY, LossCheck, StopVote
from pretrain.optimisation import optimizers
from pretrain.training_loop import build, embed
from runtime.command_line import UserError

CPU = torch.device("cpu")


ON_THE_HOST = {"_local_scalar_dense", "nonzero", "item", "equal", "is_nonzero", "masked_select", "_unique2"}
"""Operations whose result, or its shape, is a number of the device that the host must know: it waits."""


class Dispatched(TorchDispatchMode):
    """Notes what makes the host wait for the device, and counts what computes something: on a GPU, a launch each."""

    def __init__(self):
        super().__init__()
        self.waits, self.launches = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in ON_THE_HOST:
            self.waits.append(function)
        view = any(result.alias_info and not result.alias_info.is_write for result in function._schema.returns)
        self.launches += function.namespace == "aten" and not view and not name.startswith(("empty", "new_empty"))
        return function(*args, **(kwargs or {}))


def settings_of(name: str) -> TrainConfig:
    pairs = ["batch_size=8", "views.size=32", "precision=fp32"]
    pairs += ["backbone.name=vit_mini_patch8"] if methods.masks_patches(name) else []
    pairs += ["views.small_size=16"] if name == "swav" else []
    pairs += ["method.classes=4"] if name == "supervised" else []
    return resolve(name, "demo", pairs)


def batch_of(name: str, settings: TrainConfig, seed: int = 0) -> datasets.Batch:
    generator = torch.Generator().manual_seed(seed)
    large, small = methods.takes_views(name)[0], settings.views.small
    sizes = [32] * large + [16] * small
    views = [torch.randint(256, (8, 3, size, size), generator=generator, dtype=torch.uint8) for size in sizes]
    return datasets.Batch(views, torch.arange(8) % 4, [], keys=torch.arange(24).reshape(8, 3))


@pytest.mark.parametrize("name", methods.available())
@pytest.mark.slow
def test_a_steady_step_of_every_method_reads_no_number_from_the_device(name):
    settings = settings_of(name)
    network, check, vote = build(name, settings, CPU), LossCheck(), StopVote()
    optim = resolve(name, "imagenet-100ep", []).optim
    # AdamW counts its steps in tensors of the host.
    optimizer = optimizers.build(network, replace(optim, name="sgd") if optim.name == "adamw" else optim)
    for step in range(1, 4):  # the first ones also look at what is looked at now and then
        with Dispatched() as dispatched:
            labelled = methods.learns_from_labels(name)
            embeddings = embed(network, batch_of(name, settings), settings, CPU, labelled=labelled)
            terms = network.loss_terms(embeddings)
            check.note(terms, step)
            optimizers.set_lr(optimizer, 0.01, peak=0.01)
            optimizer.zero_grad(set_to_none=True)
            sum(terms.values()).backward()
            optimizer.step()
            network.after_step(0.5 + step / 1000)
            vote(False, step, CPU)
    assert dispatched.waits == []


@pytest.mark.parametrize(("name", "most"), [("matrix_ssl", 2000), ("moco_v2", 900)])
@pytest.mark.slow
def test_a_step_launches_little(name, most):
    """ResNet-50 with the published recipe in bf16; 64 GPUs with 16 images each would wait for more launches."""
    pairs = ["batch_size=8", "views.size=32", "precision=bf16", "optim.name=sgd"]
    pairs += ["method.bn_groups=1"] if name == "moco_v2" else []  # as many as there are processes, so one for each
    settings = resolve(name, "imagenet-100ep", pairs)
    network = build(name, settings, CPU)
    optimizer = optimizers.build(network, settings.optim)
    for _ in range(2):  # the first step makes the optimiser's state
        with Dispatched() as dispatched:
            embeddings = embed(network, batch_of(name, settings), settings, CPU, labelled=False)
            terms = network.loss_terms(embeddings)
            optimizer.zero_grad(set_to_none=True)
            sum(terms.values()).backward()
            optimizer.step()
            network.after_step(0.5)
    assert 0.5 * most < dispatched.launches <= most


def test_the_first_loss_that_is_not_finite_is_named_soon_and_before_a_checkpoint():
    def run(until: int) -> LossCheck:
        check = LossCheck()
        for step in range(1, until + 1):
            loss = torch.tensor(float("nan") if step == 6 else float("inf") if step > 6 else 1.0)
            check.note({"a": torch.tensor(2.0), "b": loss}, step)
        return check

    run(5).check()
    with pytest.raises(UserError, match=r"not finite at step 6 \(a 2, b nan\)"):
        run(7).check()
    with pytest.raises(UserError, match="not finite at step 6"):
        run(6 + 2 * EVERY)


def test_the_random_numbers_of_a_gpu_go_on_after_a_stop_and_those_of_a_checkpoint_from_a_cpu_begin(monkeypatch):
    """Stochastic depth draws there: a resumed run drew again what the first steps had drawn."""
    gpu = torch.device("cuda", 0)
    kept = {gpu: torch.tensor([7], dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", kept.__getitem__)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: kept.update({device: state}))
    states = training_loop.random_states(gpu)
    expected = torch.rand(2)
    kept[gpu] = torch.tensor([1], dtype=torch.uint8)  # as a new process begins
    training_loop.set_random_states(training_loop.random_states(torch.device("cpu")), gpu)
    assert kept[gpu].item() == 1
    training_loop.set_random_states(states, gpu)
    assert kept[gpu].item() == 7 and torch.equal(torch.rand(2), expected)
