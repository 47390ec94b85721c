"""Causal language models of transformers, from local files alone; and a small one from random weights."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from language.config import ModelConfig
from language.word_problems import NAMES, SPLITS, THINGS, problems
from runtime import run_guard
from runtime.command_line import UserError, printable, shortened
from runtime.files import sha256
from runtime.memory import growth_limited, size_bytes

EXTRA = "the language extra is not installed; pip install -e '.[language]', or make setup EXTRAS=language"

UNPACKED = 40
"""How many times the size of its files reading a model takes at most: of 2 bits a weight, float32 and a copy."""

LAYER_BYTES = 1000
"""Fewer than any layer has."""

TINY = "tiny"
"""In place of a path: the small model from random weights."""

UNKNOWN, PAD, END = "<unk>", "<pad>", "</s>"
PIECES = r" ?[^\s\d]+| ?\d|\n| "
"""What a token of the small model's tokenizer is: a word with the space before it, one digit, a new line."""


def transformers() -> Any:
    """The library. Raises UserError where it is not installed."""
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise UserError(EXTRA) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()  # its bars go to the log as one long line
    return transformers


def peft() -> Any:
    """The library. Raises UserError where it is not installed."""
    try:
        import peft
    except ModuleNotFoundError as error:
        raise UserError("model.lora_rank needs peft; pip install peft, or train all weights with 0") from error
    return peft


def load(config: ModelConfig, *, seed: int, prompts: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """A model with its weights in float32, and low-rank updates where the settings say so; and its tokenizer.

    Raises UserError for a folder that lacks weights, configuration or tokenizer, for weights that would run code, and
    for a tokenizer of another model.
    """
    if config.path == TINY:
        model, tokenizer = tiny(config, seed=seed, prompts=prompts)
    else:
        model, tokenizer = from_files(Path(config.path))
    return (with_low_rank_updates(model, config.lora_rank, seed=seed) if config.lora_rank else model), tokenizer


def with_low_rank_updates(model: Any, rank: int, *, seed: int) -> Any:
    """The model with updates 2 B A of all its linear layers but the head (LoRA, arXiv 2106.09685), which alone learn.

    A (rank, inputs) is random by ``seed``, B (outputs, rank) is 0: the model is at first what it was.
    """
    import torch

    library = peft()
    torch.manual_seed(seed)
    config = library.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    return library.get_peft_model(model, config)


def weights_hash(path: Path) -> str:
    """One SHA-256 of all files of weights."""
    return _hash([path] if path.is_file() else path.glob("*.safetensors"))


def tokenizer_hash(path: Path) -> str:
    """One SHA-256 of all that makes tokens of texts; of a GGUF file nothing, it is among the weights."""
    return _hash([] if path.is_file() else path.glob("tokenizer*"))


def _hash(files: Iterable[Path]) -> str:
    return hashlib.sha256("".join(sha256(file) for file in sorted(files)).encode()).hexdigest()


def check(path: Path) -> None:
    """Raise UserError unless ``path`` is a GGUF file, or a folder of transformers with safetensors and a tokenizer."""
    if path.suffix == ".gguf" and path.is_file():
        return
    if not path.is_dir():
        raise UserError(f"no model at {path}; give a folder of transformers, a .gguf file, or tiny")
    if not (path / "config.json").is_file():
        raise UserError(f"{path} has no config.json; give the folder of a causal language model of transformers")
    if not list(path.glob("*.safetensors")):
        pickled = [file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in sorted(path.glob(pattern))]
        if pickled:
            raise UserError(f"{path} has its weights in {pickled[0]}, which could run code; convert it to safetensors")
        raise UserError(f"{path} has no weights (*.safetensors); download the model whole")
    if not any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise UserError(f"{path} has no tokenizer (tokenizer.json or tokenizer.model); download the model whole")


def is_whole(folder: Path) -> bool:
    """Whether the folder that a run ends with is there; what is damaged in it is named, and it is made again.

    Raises UserError where something else has its name.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, and a run writes a folder there; move it away")
    from safetensors import SafetensorError, safe_open

    try:
        if not run_guard.read(folder):
            raise UserError(f"{folder} has no {run_guard.FILE}")
        check(folder)
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "np"):  # it reads the header, and compares the sizes
                pass
    except (UserError, SafetensorError, OSError) as error:
        print(f"note: {printable(shortened(str(error)))}; {folder} is made again", file=sys.stderr)
        return False
    return True


def from_files(path: Path) -> tuple[Any, Any]:
    """A model of transformers or of a GGUF file, and its tokenizer, as `load` says."""
    import torch

    check(path)
    library, is_gguf = transformers(), path.suffix == ".gguf"
    folder = path.parent if is_gguf else path
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    local |= {"gguf_file": path.name} if is_gguf else {}
    own = {} if is_gguf else {"use_safetensors": True}
    try:
        with growth_limited(path, times=UNPACKED):
            config = library.AutoConfig.from_pretrained(folder, **local)
            _refuse_more_layers(config, path)
            tokenizer = library.AutoTokenizer.from_pretrained(folder, **local)
            model, found = library.AutoModelForCausalLM.from_pretrained(
                folder, config=config, dtype=torch.float32, output_loading_info=True, **local, **own
            )
    except UserError:
        raise
    except Exception as error:  # what the libraries raise for a faulty file has no common type
        reason = " ".join(str(error).split()) or type(error).__name__
        if "trust_remote_code" in reason:
            reason = "it brings code of its own, which is never run; give a model that transformers itself knows"
        raise UserError(f"{path} cannot be loaded as a causal language model: {reason}") from error
    if absent := sorted(found["missing_keys"]):  # which transformers would fill with random numbers
        raise UserError(f"{path} lacks {absent[0]} ({len(absent)} tensors in all); download the model whole")
    if is_gguf:  # plain float32 by now; while it is called quantised, transformers does not save the model
        model.hf_quantizer = None
        del model.config.quantization_config
    if (size := tokenizer.vocab_size) > (rows := model.get_input_embeddings().weight.shape[0]):
        raise UserError(
            f"the tokenizer in {path} has {size} tokens and the model vectors of {rows}: it is another model's; "
            "download both from one place"
        )
    if tokenizer.pad_token is None or tokenizer.pad_token_id >= rows:
        _add_padding(model, tokenizer)
    return model, tokenizer


def _refuse_more_layers(config: Any, source: Path) -> None:
    """Raise UserError for more layers than the weights can have: each is built before the weights are looked at."""
    layers = config.get_text_config().num_hidden_layers
    if not isinstance(layers, int) or layers * LAYER_BYTES > size_bytes(source):
        raise UserError(f"{source} names {layers!r} layers, more than its weights can hold; download the model whole")


def _add_padding(model: Any, tokenizer: Any) -> None:
    """Add a padding token whose rows are the mean of the others, as MetaMath does: the matrix loss sees them too.

    The tokenizer may have one already for which the model has no vector, as many made from Llama's do.
    """
    import torch

    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    before = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) <= before:
        return
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for table in {
            id(t.weight): t.weight for t in (model.get_input_embeddings(), model.get_output_embeddings())
        }.values():
            table[before:] = table[:before].mean(0)


def tiny(config: ModelConfig, *, seed: int, prompts: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """A small Llama with seeded random weights, and a tokenizer that knows the words of the embedded problems."""
    import torch

    if config.width % config.heads or (config.width // config.heads) % 2:
        raise UserError(f"model.width={config.width} must be an even multiple of model.heads={config.heads}")
    library, tokenizer = transformers(), word_tokenizer(prompts)
    torch.manual_seed(seed)
    settings = library.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        intermediate_size=3 * config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    return library.LlamaForCausalLM(settings), tokenizer


def word_tokenizer(prompts: tuple[str, ...] = ()) -> Any:
    """A tokenizer of whole words and single digits, with all that embedded problems and ``prompts`` can say."""
    library = transformers()
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    texts = [" ".join(("x", "", *NAMES, *THINGS)), *NAMES, *THINGS, " 0 1 2 3 4 5 6 7 8 9", "0123456789", *prompts]
    for split in SPLITS:
        texts += [text for entry in problems(split, 400) for text in (entry["query"], f"\n{entry['response']}")]
    trainer = trainers.WordLevelTrainer(special_tokens=[PAD, END, UNKNOWN], vocab_size=100_000)
    tokenizer.train_from_iterator(texts, trainer)
    return library.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, clean_up_tokenization_spaces=False
    )
