"""MetaMath's prompts, which differ between training (its train_math.py) and evaluation (its eval_gsm8k.py)."""

INSTRUCTION = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
EVALUATION = " Let's think step by step."

STOPS = ("Question:", "Question", "USER:", "USER", "ASSISTANT:", "ASSISTANT", "Instruction:", "Instruction")
STOPS += ("Response:", "Response")
"""Where MetaMath ends a generated text."""


def training_prompt(query: str) -> str:
    """The prompt of a query; what follows its first line is an input of its own, as MetaMath splits it."""
    instruction, newline, rest = query.partition("\n")
    return WITH_INPUT.format(instruction=instruction, input=rest) if newline else INSTRUCTION.format(instruction=query)


def evaluation_prompt(query: str) -> str:
    """The prompt of a question: never split, and with a first sentence of the response."""
    return INSTRUCTION.format(instruction=query) + EVALUATION


def until_stop(text: str, stops: tuple[str, ...] = STOPS) -> str:
    """A generated text up to the first of ``stops``."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]
