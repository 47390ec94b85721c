"""Where no GPU is: a step of every method on pretended tensors, which know their device and shape and hold no numbers.

torch refuses to combine two devices as it would on a real GPU, so a tensor that a method makes on the CPU by mistake
is found here. Not found is what only a GPU does: the backward pass there, NCCL, bf16's rounding.
"""

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pretrain import config, methods, training_loop
from pretrain.data import views
from pretrain.data.datasets import Batch
from pretrain.optimisation import optimizers

GPU = torch.device("cuda", 0)
BATCH = 16


def pretended(network: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """``network`` with pretended tensors on a GPU in place of its own; Module.to cannot put them there."""
    own = {id(tensor): tensor.detach() for tensor in [*network.parameters(), *network.buffers()]}
    with mode:
        moved = {key: mode.from_tensor(tensor).to(GPU) for key, tensor in own.items()}
        learns = {id(p): p.requires_grad for p in network.parameters()}
        parameters = {key: nn.Parameter(moved[key], requires_grad=flag) for key, flag in learns.items()}
    for module in network.modules():
        for name, tensor in module._parameters.items():
            module._parameters[name] = None if tensor is None else parameters[id(tensor)]
        for name, tensor in module._buffers.items():
            module._buffers[name] = None if tensor is None else moved[id(tensor)]
    return network


class Waits(TorchDispatchMode):
    """Notes copies between host and GPU that the host waits for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        copies = function.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        places = {x.device.type for x in (*args[:2], result) if isinstance(x, torch.Tensor)}
        if copies and len(places) > 1 and not (kwargs.get("non_blocking") or args[2:] == (True,)):
            self.found.append((function, args, kwargs))
        return result


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("name", methods.available())
@pytest.mark.slow
def test_every_tensor_of_a_step_is_on_the_gpu(name, monkeypatch):
    pairs = [f"batch_size={BATCH}", "views.size=32", "views.small_size=32", "precision=bf16"]
    if methods.masks_patches(name):
        pairs += ["backbone.name=vit_mini_patch8", "method.decoder_width=16", "method.decoder_depth=1"]
    settings = config.resolve(name, "imagenet-100ep", pairs)
    network = training_loop.build(name, settings, torch.device("cpu"))
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 1)  # there is no number to be had
    labelled = methods.learns_from_labels(name)
    mode = FakeTensorMode()
    network = pretended(network, mode)
    with mode:
        keys = torch.zeros(BATCH, 3, dtype=torch.long)
        optimizer = optimizers.build(network, settings.optim)
        seen = [torch.zeros(BATCH, 3, v.size, v.size, dtype=torch.uint8) for v in views.random_views(settings.views)]
        batch = Batch(seen, torch.zeros(BATCH, dtype=torch.long), [], keys=keys)
        for progress in (0.25, 0.75):
            with Waits() as waits:
                embeddings = training_loop.embed(network, batch, settings, GPU, labelled=labelled)
                terms = network.loss_terms(embeddings)
                for parameter in network.parameters():
                    parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
                optimizers.set_lr(optimizer, 0.1, peak=0.1)
                optimizer.step()
                network.after_step(progress)
            assert {z.device for z in [*embeddings.online, *embeddings.target, *terms.values()]} == {GPU}
        assert {tensor.device for tensor in network.state_dict().values()} == {GPU}
    assert waits.found == []  # of the second step, with an optimiser that has its state
