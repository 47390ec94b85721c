"""What precision=auto comes to: on what a processor says of itself, on what oneDNN may use of it, and on resumption."""

import pytest
import torch

from runtime.command_line import UserError
from runtime.precision import chosen

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def processor(monkeypatch):
    """A function that makes this a machine with some of AMX and AVX512_BF16, and a limit for oneDNN."""

    def become(*, amx: bool = False, avx512_bf16: bool = False, limit: str | None = None) -> None:
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
        monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
        if limit is not None:
            monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)

    return become


SAPPHIRE_RAPIDS = {"amx": True, "avx512_bf16": True}


@pytest.mark.parametrize(
    ("has", "limit", "expected"),
    [
        ({}, None, "fp32"),
        ({"avx512_bf16": True}, None, "bf16"),
        (SAPPHIRE_RAPIDS, None, "bf16"),
        (SAPPHIRE_RAPIDS, "ALL", "bf16"),
        (SAPPHIRE_RAPIDS, "AVX512_CORE_AMX", "bf16"),
        (SAPPHIRE_RAPIDS, "avx512_core_bf16", "bf16"),  # oneDNN reads small letters too
        (SAPPHIRE_RAPIDS, "AVX512_CORE", "fp32"),
        (SAPPHIRE_RAPIDS, "AVX2", "fp32"),
        ({"amx": True}, "AVX512_CORE_BF16", "fp32"),
    ],
)
def test_a_cpu_takes_bf16_only_where_its_instructions_may_be_used(processor, has, limit, expected):
    processor(**has, limit=limit)
    assert chosen("auto", CPU) == expected
    assert (chosen("bf16", CPU), chosen("fp32", CPU)) == ("bf16", "fp32")  # who names one gets it


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_takes_bf16_if_it_does_not_emulate_it(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert chosen("auto", GPU) == ("bf16" if native else "fp32")


def test_a_run_goes_on_in_what_it_began_with_and_says_where_that_is_slow(processor, capsys):
    processor(amx=True)
    assert chosen("auto", CPU, begun="fp32") == "fp32"
    assert chosen("auto", CPU, begun="bf16") == "bf16" and not capsys.readouterr().err
    processor()
    assert chosen("auto", CPU, begun="bf16") == "bf16"
    assert "goes on in it; this processor is slow in it" in capsys.readouterr().err


def test_a_gpu_that_emulates_bf16_does_not_take_up_a_run_in_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    with pytest.raises(UserError, match="precision bf16, but Tesla V100 does not compute in bfloat16; use precision"):
        chosen("auto", GPU, begun="bf16")


def _on_unlike_machines() -> str:
    from runtime import distributed

    has = distributed.rank() == 0
    torch.cpu._is_amx_tile_supported = torch.cpu._is_avx512_bf16_supported = lambda: has
    return chosen("auto", CPU)


@pytest.mark.slow
def test_ranks_on_unlike_machines_agree(ranks, monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert ranks(2, _on_unlike_machines) == ["fp32", "fp32"]
