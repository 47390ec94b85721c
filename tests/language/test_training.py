"""A run of the small model: resumed to the same bits, the same over processes and parts, refused in one line."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from language.config import LanguageConfig, LossConfig, ModelConfig, TextConfig, resolve
from language.examples import read_examples, training_examples
from runtime.command_line import UserError
from runtime.provenance import ROOT

pytestmark = pytest.mark.slow

SMALL = ("text.problems=64", "epochs=2", "batch_size=16", "micro_batch=8", "model.width=16", "model.layers=1")
SMALL += ("model.heads=2", "loss.weight=1", "loss.steps=4", "log.every=1", "log.checkpoint_every=3")


def start(out: Path, *settings: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "language/train.py"), "--out", str(out), *SMALL, *settings]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def test_a_run_that_is_stopped_and_one_that_is_killed_end_with_the_same_bits(tmp_path):
    """Evaluated after it; the log has every step once."""
    runs = {name: start(tmp_path / name) for name in ("whole", "stopped")}
    while not (tmp_path / "stopped" / "log.jsonl").exists() or not (tmp_path / "stopped" / "log.jsonl").read_text():
        assert runs["stopped"].poll() is None, runs["stopped"].stderr.read()
        time.sleep(0.02)
    runs["stopped"].send_signal(signal.SIGTERM)
    assert runs["stopped"].wait(60) == 75 and runs["whole"].wait(60) == 0, runs["whole"].stderr.read()
    again = start(tmp_path / "stopped")
    assert again.wait(60) == 0, again.stderr.read()
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)
    steps = [json.loads(line)["step"] for line in (tmp_path / "stopped" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 9))

    from language import evaluate

    argv = [
        "--model",
        str(tmp_path / "whole"),
        "--benchmark",
        "word-problems-test",
        "--questions",
        "20",
        "--batch",
        "8",
    ]
    assert evaluate.main([*argv, "--out", str(tmp_path / "test")]) == 0
    items = [json.loads(line) for line in (tmp_path / "test" / "items.jsonl").read_text().splitlines()]
    record = json.loads((tmp_path / "test" / "result.json").read_text())["records"][0]
    assert record["n"] == len(items) == 20 and record["value"] == 5 * sum(item["right"] for item in items)


def _two_steps(config: LanguageConfig, folder: str):
    """Losses of two steps and the weights after them."""
    import torch

    from language import models
    from language.training_loop import Run, encode, indices_of, prepare, take_step, whole
    from runtime import distributed

    model, tokenizer = models.load(config.model, seed=0)
    examples = training_examples(config.text, seed=0)
    encoded = encode(examples, tokenizer, form="plain", max_length=96)
    state = Run(prepare(model, config, torch.device("cpu")), config, Path(folder), recipe="demo")
    seen = []
    for step in range(2):
        chosen = indices_of(step, count=len(encoded), batch_size=config.batch_size, seed=0)
        own = [encoded[k] for k in chosen[distributed.rank() :: distributed.world_size()]]
        seen.append(take_step(state, own, 1e-2, pad=tokenizer.pad_token_id, device=torch.device("cpu")))
    return seen, {name: whole(value.detach()).clone() for name, value in state.model.named_parameters()}


def _each(configs: dict[str, LanguageConfig], folder: str):
    return {name: _two_steps(config, f"{folder}/{name}") for name, config in configs.items()}


def test_processes_parts_and_activations_computed_again_take_the_same_step(ranks, tmp_path):
    """Sharded over two processes as well; so do low-rank updates, which alone move. In bfloat16 the loss is near."""
    config = LanguageConfig(
        batch_size=16,
        micro_batch=16,
        model=ModelConfig(width=16, layers=1, heads=2),
        text=TextConfig(problems=64, prompt="plain"),
        loss=LossConfig(detach_embeddings=False, center=True),
    )
    low_rank = replace(config, model=replace(config.model, lora_rank=2))
    configs = {"whole": config, "again": replace(config, activation_checkpointing=True), "updates": low_rank}
    alone = _each({**configs, "parts": replace(config, micro_batch=3)}, str(tmp_path / "alone"))
    alone |= _each({"bf16": replace(config, precision="bf16")}, str(tmp_path / "alone"))
    both = ranks(2, _each, {**configs, "again": replace(configs["again"], micro_batch=5)}, str(tmp_path / "both"))
    found = [(name, alone[name]) for name in ("parts", "again")]
    for name, (losses, weights) in [*found, *[one for rank in both for one in rank.items()]]:
        expected_losses, expected = alone["updates" if name == "updates" else "whole"]
        for step, expected_step in zip(losses, expected_losses, strict=True):
            assert step == pytest.approx(expected_step, rel=1e-4, abs=1e-6)
        for key, value in expected.items():
            torch.testing.assert_close(weights[key], value, rtol=1e-3, atol=2e-4, msg=f"{name}: {key}")
    assert alone["bf16"][0] != alone["whole"][0]
    for step, expected_step in zip(alone["bf16"][0], alone["whole"][0], strict=True):
        assert step == pytest.approx(expected_step, rel=2e-2, abs=1e-3)


class _StopsAfter:
    """In place of StopRequest: a signal that comes in the third step."""

    exit_code = 75

    def __init__(self):
        self.asked = 0

    @property
    def signal(self):
        self.asked += 1
        return signal.SIGTERM if self.asked == 3 else None


def test_a_run_goes_on_with_the_same_files_elsewhere_and_with_no_others(tmp_path, monkeypatch):
    """The same name may hold another text or another model by then; what is saved is only half of what was trained."""
    from language import models, training_loop

    text, folder = tmp_path / "text.jsonl", tmp_path / "model"
    model, tokenizer = models.load(ModelConfig(width=16, layers=1, heads=2), seed=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    text.write_text("".join(json.dumps({"query": f"{k} + 1", "response": f"{k + 1}"}) + "\n" for k in range(32)))

    def begin(*more: str) -> int:
        files = [f"text.path={text}", f"model.path={folder}", "batch_size=8", "epochs=1", "loss.steps=4", *more]
        return training_loop.run("demo", resolve("demo", files), tmp_path / "run")

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "StopRequest", _StopsAfter)
        assert begin() == 75
    text, folder = text.rename(tmp_path / "moved.jsonl"), folder.rename(tmp_path / "moved")
    whole = text.read_text()
    text.write_text(whole.replace("30 + 1", "30 + 2"))
    with pytest.raises(UserError, match="another run: inputs.text_sha256 "):
        begin()
    text.write_text(whole)
    with torch.no_grad():
        model.lm_head.weight[0] += 1
    weights_before = (folder / "model.safetensors").read_bytes()
    model.save_pretrained(folder)
    with pytest.raises(UserError, match="another run: inputs.weights_sha256 "):
        begin()
    (folder / "model.safetensors").write_bytes(weights_before)
    assert begin("micro_batch=2", "activation_checkpointing=true") == 0, "both change what is in memory at a time alone"


def test_low_rank_updates_resume_to_the_same_bits_and_end_in_a_plain_model(tmp_path, monkeypatch):
    from language import models, training_loop

    config = resolve("demo", [*SMALL, "model.lora_rank=2", "optim.lr=0.1"])
    assert training_loop.run("demo", config, tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "StopRequest", _StopsAfter)
        assert training_loop.run("demo", config, tmp_path / "stopped") == 75
    kept = torch.load(tmp_path / "stopped" / "checkpoint.pth")["model"]
    assert kept and all("lora_" in name for name in kept)
    assert training_loop.run("demo", config, tmp_path / "stopped") == 0
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)

    before = models.load(replace(config.model, lora_rank=0), seed=0)[0].state_dict()
    assert expected.keys() == before.keys()
    moved = {name for name, value in before.items() if not torch.equal(value, expected[name])}
    assert moved == {name for name in before if name.endswith("_proj.weight")}
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match="model.lora_rank needs peft; pip install peft"):
        models.load(config.model, seed=0)


def test_the_loss_is_on_the_response_and_its_end_alone():
    from language import models
    from language.training_loop import encode, micro_batches

    _, tokenizer = models.load(ModelConfig(width=16, layers=1, heads=2), seed=0)
    examples = training_examples(TextConfig(problems=4), seed=0)
    encoded = encode(examples, tokenizer, form="plain", max_length=96)
    ((tokens, targets),) = micro_batches(encoded, 4, tokenizer.pad_token_id)
    for example, row, wanted in zip(examples, tokens, targets, strict=True):
        assert tokenizer.decode(wanted[wanted >= 0]) == example.response + tokenizer.eos_token
        assert tokenizer.decode(row, skip_special_tokens=True) == f"{example.question}\n{example.response}"
    with pytest.raises(UserError, match="4 examples are longer than text.max_length=9 tokens, the first is number 1"):
        encode(examples, tokenizer, form="plain", max_length=9)
    with pytest.raises(UserError, match="4 examples are longer than the model's context of 8 tokens, the first is"):
        encode(examples, tokenizer, form="plain", max_length=9, context=8)


@pytest.mark.parametrize(
    "content, words",
    [
        ('{"query": "q", "response": "r"}\n{"query": "q"}\n', "line 2 has no text in response"),
        ('{"query": "q", "response": 3}\n', "line 1 has no text in response"),
        ('{"question": "q", "answer": "r"}\n\n{', "line 3 is no JSON"),
        ('[{"query": "q", "response": "r"}, 5]', "entry 2 is a int"),
        ("[]", "holds no examples"),
        ('{"text": "q"}\n', "line 1 has no text in query/response or question/answer"),
    ],
)
def test_a_faulty_entry_is_named_by_its_number(tmp_path, content, words):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(UserError, match=words):
        read_examples(tmp_path / "a.jsonl")


def test_files_of_every_form_are_read(tmp_path):
    for number, (question, answer) in enumerate(
        (("query", "response"), ("question", "answer"), ("problem", "solution"))
    ):
        entries = [{question: f"q\u2028{k}", answer: f"#### {k}", "type": "x"} for k in range(3)]
        lines = [json.dumps(entry, ensure_ascii=False) for entry in entries]  # U+2028 ends no line of a file
        (tmp_path / f"{number}.json").write_text(json.dumps(entries))
        (tmp_path / f"{number}.jsonl").write_text("\ufeff" + "\n".join(lines))
        assert read_examples(tmp_path / f"{number}.json") == read_examples(tmp_path / f"{number}.jsonl")


@pytest.mark.parametrize(
    "files, words",
    [
        ([], "no model at"),
        (["README"], "has no config.json"),
        (["config.json"], "has no weights"),
        (["config.json", "pytorch_model.bin"], "could run code; convert it to safetensors"),
        (["config.json", "model.safetensors"], "has no tokenizer"),
        (["config.json", "model.safetensors", "tokenizer.json"], "cannot be loaded"),
    ],
)
def test_a_folder_that_is_no_model_is_one_line(tmp_path, files, words):
    from language import models

    for name in files:
        (tmp_path / "m").mkdir(exist_ok=True)
        (tmp_path / "m" / name).write_text("{}")
    with pytest.raises(UserError, match=words):
        models.load(ModelConfig(path=str(tmp_path / "m")), seed=0)


def test_code_beside_the_weights_is_never_run(tmp_path):
    from language import models

    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    classes = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": classes}))
    (tmp_path / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(UserError, match="brings code of its own, which is never run") as refused:
        models.load(ModelConfig(path=str(tmp_path)), seed=0)
    assert "http" not in str(refused.value) and len(str(refused.value)) <= 300


def write_gguf(path: Path, *, width: int = 16) -> None:
    """A Llama of one layer that spells, in the one file that llama.cpp would read."""
    import gguf

    tokens = ["<|end|>", "ab", *"abcdefghijklmnopqrstuvwxyz0123456789.:=", "\u0120", "\u010a"]
    file = gguf.GGUFWriter(path, "llama")
    file.add_context_length(1024)
    file.add_embedding_length(width)
    file.add_block_count(1)
    file.add_feed_forward_length(width)
    file.add_head_count(2)
    file.add_head_count_kv(2)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_vocab_size(len(tokens))
    file.add_tokenizer_model("gpt2")
    file.add_token_list(tokens)
    file.add_token_types([gguf.TokenType.CONTROL, *[gguf.TokenType.NORMAL] * (len(tokens) - 1)])
    file.add_token_merges(["a b"])
    file.add_bos_token_id(0)
    file.add_eos_token_id(0)
    generator = torch.Generator().manual_seed(0)
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes = {f"blk.0.{name}": (width, width) for name in square}
    shapes |= {f"blk.0.{name}": (width,) for name in ("attn_norm", "ffn_norm")}
    shapes |= {"token_embd": (len(tokens), width), "output": (len(tokens), width), "output_norm": (width,)}
    for name, shape in shapes.items():
        file.add_tensor(f"{name}.weight", torch.rand(shape, generator=generator).numpy())
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def test_a_gguf_file_is_fine_tuned_and_saved_and_a_damaged_one_is_one_line(tmp_path):
    from language import models
    from language.training_loop import run

    write_gguf(tmp_path / "m.gguf")
    pairs = [f"model.path={tmp_path / 'm.gguf'}", "text.problems=4", "text.max_length=1000", "epochs=1"]
    assert run("demo", resolve("demo", [*pairs, "batch_size=2", "micro_batch=2"]), tmp_path / "run") == 0
    saved = weights(tmp_path / "run")
    before, _ = models.load(ModelConfig(path=str(tmp_path / "m.gguf")), seed=0)
    assert all(tensor.dtype == torch.float32 for tensor in saved.values())
    moved = [name for name, tensor in before.state_dict().items() if not torch.equal(tensor, saved[name])]
    assert len(moved) == len(saved) == 12

    content = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut.gguf cannot be loaded as a causal language model"):
        models.load(ModelConfig(path=str(tmp_path / "cut.gguf")), seed=0)
    with pytest.raises(UserError) as gone:
        models.load(ModelConfig(path=str(tmp_path / "gone.gguf")), seed=0)
    assert str(gone.value).startswith(f"no model at {tmp_path / 'gone.gguf'}") and "http" not in str(gone.value)


@pytest.fixture
def gpt2(tmp_path) -> Path:
    """A GPT-2 of one layer, which has dropout, tied embeddings and no padding token of its own."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from language import models

    tokenizer = models.word_tokenizer()
    size = {"vocab_size": len(tokenizer), "n_positions": 96, "n_embd": 16, "n_layer": 1, "n_head": 2}
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**size, eos_token_id=tokenizer.eos_token_id)).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_dropout_draws_after_a_stop_what_it_would_have_drawn(gpt2, tmp_path, monkeypatch):
    from language import training_loop

    files = [f"model.path={gpt2}", "text.problems=32", "batch_size=8", "micro_batch=8", "epochs=1"]
    config = resolve("demo", files)
    assert training_loop.run("demo", config, tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "StopRequest", _StopsAfter)
        assert training_loop.run("demo", config, tmp_path / "stopped") == 75
    torch.manual_seed(5)  # another process's random numbers
    assert training_loop.run("demo", config, tmp_path / "stopped") == 0
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_tokenizer_pads_with_a_token_the_model_has_and_ends_a_text(gpt2):
    """Many made from Llama's have a padding token one above its last vector."""
    from language import models
    from language.training_loop import encode

    path = gpt2 / "tokenizer_config.json"
    tokenizer = models.word_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<above>"})
    tokenizer.save_pretrained(gpt2)
    model, loaded = models.load(ModelConfig(path=str(gpt2)), seed=0)
    table = model.get_input_embeddings().weight
    assert loaded.pad_token == "<above>" and loaded.pad_token_id == len(table) - 1
    torch.testing.assert_close(table[-1], table[:-1].mean(0))

    said = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in said.items() if key != "eos_token"}))
    _, loaded = models.load(ModelConfig(path=str(gpt2)), seed=0)
    examples = training_examples(TextConfig(problems=2), seed=0)
    with pytest.raises(UserError, match="no token that ends a text.*; name one of its tokens as eos_token in"):
        encode(examples, loaded, form="plain", max_length=96)
    path.write_text(json.dumps(said))
    _, loaded = models.load(ModelConfig(path=str(gpt2)), seed=0)
    assert encode(examples, loaded, form="plain", max_length=96)[0].tokens[-1] == loaded.eos_token_id


def test_a_tokenizer_of_another_model_is_one_line(tmp_path):
    """One that knows more tokens than the model has vectors; one that is not the run's; an evaluation of another."""
    from language import evaluate, models

    model, tokenizer = models.load(ModelConfig(width=16, layers=1, heads=2), seed=0)
    folder = tmp_path / "run" / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    about = {"config": {"text": {"prompt": "plain"}}, "tokenizer_sha256": models.tokenizer_hash(folder)}
    (folder / "run.json").write_text(json.dumps(about))
    argv = ["--model", str(tmp_path / "run"), "--benchmark", "word-problems-test", "--questions", "2"]
    argv += ["--out", str(tmp_path / "out")]
    assert evaluate.main(argv) == 0 == evaluate.main(argv)
    with pytest.raises(UserError, match=r"is the folder of another run: n \(there 2, here 3\)"):
        evaluate.main([*argv, "--questions", "3"])

    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {f"word{k}": len(content["model"]["vocab"]) + k for k in range(300)}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="is not the one this run was trained with; put that one back"):
        evaluate.main(argv)
    (folder / "run.json").unlink()
    with pytest.raises(UserError, match=r"has \d+ tokens and the model vectors of \d+: it is another model's"):
        models.load(ModelConfig(path=str(folder)), seed=0)


def test_what_the_model_cannot_do_is_one_line_before_the_folder_is_claimed(tmp_path):
    from language import training_loop

    with pytest.raises(UserError, match="loss.steps=17 is more than the width of the model, 16; lower it"):
        training_loop.run("demo", resolve("demo", [*SMALL, "loss.steps=17"]), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


NO_EXTRA = """
import importlib.abc, runpy, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("transformers", "tokenizers", "accelerate", "gguf", "peft"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["train.py", *sys.argv[1:]]
runpy.run_path("language/train.py", run_name="__main__")
"""


def test_without_the_extra_a_run_ends_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NO_EXTRA, "--out", str(tmp_path / "run"), *SMALL],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "error: the language extra is not installed; pip install -e '.[language]', or make setup EXTRAS=language"
    ]


@pytest.mark.parametrize(
    "pairs, words",
    [
        (["loss.eps=1"], "loss.eps must be above 0 and below 1, got 1"),
        (["loss.steps=0", "batch_size=x"], "batch_size must be a whole number"),
        (["lr=1"], "unknown setting 'lr'"),
    ],
)
def test_settings_that_cannot_be_are_named(pairs, words):
    with pytest.raises(UserError, match=words):
        resolve("demo", pairs)
    with pytest.raises(UserError, match="known: demo, metamath-llama-7b, metamath-mistral-7b"):
        resolve("metamath", [])


def test_settings_and_command_lines_do_without_torch():
    lines = ["import sys, language.evaluate, language.train", "language.train.parse(['--out', 'x'])"]
    code = "; ".join([*lines, "assert 'torch' not in sys.modules"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A small model as a folder of transformers, and as a GGUF file in it."""
    from language import models

    folder = tmp_path_factory.mktemp("model")
    write_gguf(folder / "m.gguf")
    model, tokenizer = models.load(ModelConfig(path=str(folder / "m.gguf")), seed=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    models.load(ModelConfig(path=str(folder)), seed=0)
    return folder


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=st.sampled_from(["m.gguf", "config.json", "tokenizer.json", "model.safetensors"]))
def test_any_model_is_loaded_or_refused_in_a_short_line(model_folder, changes, data, name):
    from language import models

    path = model_folder / name
    whole = path.read_bytes()
    content = json.loads(whole) if path.suffix == ".json" else whole
    path.write_bytes(data.draw(changes.contents(content, name)))
    source = path if path.suffix == ".gguf" else model_folder
    try:
        changes.readable_or_refused(lambda source: models.load(ModelConfig(path=str(source)), seed=0), source)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "told, words",
    [
        ({"num_hidden_layers": 3}, "lacks model.layers.1.*18 tensors in all"),
        ({"num_hidden_layers": 10**6}, "names 1000000 layers, more than its weights can hold"),
        ({"hidden_size": 10**8}, "cannot be loaded"),
    ],
)
def test_a_model_that_is_not_whole_is_refused_and_not_filled_with_random_numbers(model_folder, told, words):
    from language import models

    path = model_folder / "config.json"
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | told))
    try:
        with pytest.raises(UserError, match=words):
            models.load(ModelConfig(path=str(model_folder)), seed=0)
    finally:
        path.write_text(whole)
