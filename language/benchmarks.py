"""The benchmarks that a language model answers. No torch here: the command line checks their names."""

from dataclasses import dataclass

from language.config import EMBEDDED
from language.word_problems import SPLITS


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Questions with one right answer each."""

    protocol: str
    """How the answer is found and compared, a name in language.answers.PROTOCOLS."""
    max_new_tokens: int
    split: str = ""
    """Of the embedded word problems; empty: questions come from a file."""


BENCHMARKS = {
    "gsm8k": Benchmark(protocol="metamath", max_new_tokens=512),
    "gsm8k-flexible": Benchmark(protocol="lm-eval-flexible", max_new_tokens=512),
    "math": Benchmark(protocol="metamath-text", max_new_tokens=2048),
    **{
        f"{EMBEDDED}-{split}": Benchmark(protocol="metamath", max_new_tokens=64, split=split)
        for split in SPLITS
        if split != "train"
    },
}
