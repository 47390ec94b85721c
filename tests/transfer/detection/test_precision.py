"""A GPU without bfloat16 is told so before anything starts; its detectors train in float16 with a scaled loss."""

import pytest
import torch
from detectron2.engine import AMPTrainer

from pretrain import config, training_loop
from runtime import distributed
from runtime.command_line import UserError
from runtime.precision import check_precision
from transfer import knn, linear

WORDS = "--weights random --benchmark scenes --data nowhere"
REFUSAL = "precision bf16, but Tesla V100 does not compute in bfloat16; use precision fp32"


@pytest.fixture
def volta(monkeypatch):
    """A GPU that torch can only let emulate bfloat16, which it does unless asked not to."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    monkeypatch.setattr(distributed, "init", lambda device: torch.device("cuda", 0))


def test_knn_refuses_bf16_before_it_reads_anything(volta, tmp_path):
    with pytest.raises(UserError, match=REFUSAL):
        knn.main([*WORDS.split(), "--out", str(tmp_path / "out"), "--precision", "bf16"])
    assert not (tmp_path / "out").exists()


def test_pretraining_refuses_bf16_and_says_what_to_give(volta):
    settings = config.resolve("simsiam", "demo", ["precision=bf16"])
    with pytest.raises(UserError, match=REFUSAL):
        training_loop.build("simsiam", settings, torch.device("cuda", 0))


def test_a_classifier_refuses_bf16_before_it_reads_anything(volta, tmp_path):
    words = [*WORDS.split(), "--protocol", "linear-demo", "--out", str(tmp_path / "out"), "precision=bf16"]
    with pytest.raises(UserError, match=REFUSAL):
        linear.main(words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("wanted", "device"), [("fp32", "cuda"), ("bf16", "cpu")])
def test_what_the_gpu_is_not_asked_for_is_not_refused(volta, wanted, device):
    check_precision(wanted, torch.device(device))


def test_a_gpu_that_computes_in_bfloat16_may(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    check_precision("bf16", torch.device("cuda"))


@pytest.mark.filterwarnings("ignore:.*GradScaler.*")  # named by an old name, and without a GPU switched off
def test_detectors_on_a_gpu_train_in_float16_with_a_scaled_loss():
    """Detectron2's own trainer, which every GPU since Volta can run; bfloat16 is for CPUs alone here."""
    network = torch.nn.Linear(1, 1)
    trainer = AMPTrainer(network, None, torch.optim.SGD(network.parameters(), lr=0.1))
    assert trainer.precision == torch.float16 and isinstance(trainer.grad_scaler, torch.amp.GradScaler)
