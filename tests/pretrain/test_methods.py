"""The contract of pretrain/methods: a file there is a method, and every method does this."""

import dataclasses

import pytest
import torch

from pretrain import backbone, methods
from pretrain.command_line import UserError

SMALL = {"projector_width": 16, "predictor_width": 8}


def build(name: str, **changes):
    torch.manual_seed(0)
    module = methods.load(name)
    known = {field.name for field in dataclasses.fields(module.Config)}
    config = module.Config(**{k: v for k, v in (SMALL | changes).items() if k in known})
    return module.Method(backbone.resnet50(), config)


def two_views(n: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, 3, 32, 32, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("name", methods.available())
def test_takes_one_step_on_8_random_images(name):
    network = build(name)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.01)
    before = network.backbone.conv1.weight.clone()
    terms = network.loss_terms(network(two_views()))
    sum(terms.values()).backward()
    optimizer.step()
    network.after_step(0.5)
    assert all(torch.isfinite(term) for term in terms.values())
    assert not torch.equal(before, network.backbone.conv1.weight)


def test_teacher_is_a_momentum_copy_that_no_gradient_reaches():
    network = build("matrix_ssl", teacher_momentum=0.9)
    student, teacher = network.backbone.conv1, network.teacher["backbone"].conv1
    assert torch.equal(student.weight, teacher.weight) and not teacher.weight.requires_grad
    with torch.no_grad():
        student.weight += 1.0
    start = teacher.weight.clone()
    network.after_step(0.0)  # progress 0: momentum as configured
    assert torch.allclose(teacher.weight, start + 0.1, atol=1e-6)
    network.after_step(1.0)  # progress 1: momentum 1, the teacher rests
    assert torch.allclose(teacher.weight, start + 0.1, atol=1e-6)


def test_matrix_ssl_heads_are_the_released_ones():
    """Three projector layers of one width with a frozen last bias and a plain BN; a two-layer predictor."""
    network = build("matrix_ssl")
    linear = [m for m in network.projector if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(2048, 16), (16, 16), (16, 16)]
    assert [m.bias is not None for m in linear] == [False, False, True] and not linear[2].bias.requires_grad
    assert not network.projector[-1].affine
    shapes = [(m.in_features, m.out_features) for m in network.predictor if isinstance(m, torch.nn.Linear)]
    assert shapes == [(16, 8), (8, 16)]


def test_released_and_paper_are_two_losses_by_name():
    embeddings = build("matrix_ssl")(two_views())
    losses = {}
    for variant in ("released", "paper"):
        network = build("matrix_ssl", variant=variant)
        losses[variant] = sum(network.loss_terms(embeddings).values()).item()
    assert losses["released"] != pytest.approx(losses["paper"], rel=1e-3)


def test_a_series_that_cannot_converge_is_said_once(capsys):
    network = build("matrix_ssl", ridge=2.5)
    embeddings = network(two_views())
    network.loss_terms(embeddings)
    assert "does not converge on the first batch: |A - I| is" in capsys.readouterr().err
    network.loss_terms(embeddings)
    build("matrix_ssl").loss_terms(embeddings)  # ridge 1: converges
    assert capsys.readouterr().err == ""


def test_impossible_settings_of_the_method_are_named():
    for changes, message in (({"order": 0}, "order must be at least 1"), ({"ridge": -1.0}, "ridge must not be")):
        with pytest.raises(UserError, match=message):
            build("matrix_ssl", **changes)
