"""Causal language models of transformers, from local files alone; and a small one from random weights."""

import sys
from pathlib import Path
from typing import Any

from language.config import ModelConfig
from language.word_problems import NAMES, SPLITS, THINGS, problems
from runtime import run_guard
from runtime.command_line import UserError, printable, shortened
from runtime.memory import growth_limited, size_bytes

EXTRA = "the language extra is not installed; pip install -e '.[language]', or make setup EXTRAS=language"

UNPACKED = 40
"""How many times the size of its files reading a model takes at most: of 2 bits a weight, float32 and a copy."""

LAYER_BYTES = 1000
"""Fewer than any layer has."""

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
    return transformers


def load(config: ModelConfig, *, seed: int, prompts: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """A model with its weights in float32, and its tokenizer.

    Raises UserError for a folder that lacks weights, configuration or tokenizer, and for weights that would run code.
    """
    if config.path == "tiny":
        return tiny(config, seed=seed, prompts=prompts)
    path = Path(config.path)
    if path.suffix == ".gguf":
        model, tokenizer = _from_files(path.parent, path, gguf_file=path.name)
        # The weights are plain float32 by now; while it is called quantised, transformers does not save the model.
        model.hf_quantizer = None
        del model.config.quantization_config
        return model, tokenizer
    check_folder(path)
    return _from_files(path, path, use_safetensors=True)


def check_folder(path: Path) -> None:
    """Raise UserError unless ``path`` holds a model of transformers with safetensors and a tokenizer."""
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
        check_folder(folder)
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "np"):  # it reads the header, and compares the sizes
                pass
    except (UserError, SafetensorError, OSError) as error:
        print(f"note: {printable(shortened(str(error)))}; {folder} is made again", file=sys.stderr)
        return False
    return True


def _from_files(folder: Path, source: Path, **options: Any) -> tuple[Any, Any]:
    import torch

    library = transformers()
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    naming = {key: value for key, value in options.items() if key == "gguf_file"}
    try:
        with growth_limited(source, times=UNPACKED):
            config = library.AutoConfig.from_pretrained(folder, **local, **naming)
            _refuse_more_layers(config, source)
            tokenizer = library.AutoTokenizer.from_pretrained(folder, **local, **naming)
            model, found = library.AutoModelForCausalLM.from_pretrained(
                folder, config=config, dtype=torch.float32, output_loading_info=True, **local, **options
            )
    except UserError:
        raise
    except Exception as error:  # what the libraries raise for a faulty file has no common type
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{source} cannot be loaded as a causal language model: {reason}") from error
    if absent := sorted(found["missing_keys"]):  # which transformers would fill with random numbers
        raise UserError(f"{source} lacks {absent[0]} ({len(absent)} tensors in all); download the model whole")
    if tokenizer.pad_token is None:
        _add_padding(model, tokenizer)
    return model, tokenizer


def _refuse_more_layers(config: Any, source: Path) -> None:
    """Raise UserError for more layers than the weights can have: each is built before the weights are looked at."""
    layers = config.get_text_config().num_hidden_layers
    if not isinstance(layers, int) or layers * LAYER_BYTES > size_bytes(source):
        raise UserError(f"{source} names {layers!r} layers, more than its weights can hold; download the model whole")


def _add_padding(model: Any, tokenizer: Any) -> None:
    """Add a padding token whose rows are the mean of the others, as MetaMath does: the matrix loss sees them too."""
    import torch

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
