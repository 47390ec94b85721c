"""The answer in a generated text, by the two evaluation protocols; and whether it is the right one.

`metamath`          MetaMath's eval_gsm8k.py and eval_math.py: what follows the last "The answer is: ";
                    nothing without these words. GSM8K compares whole numbers, MATH compares texts
                    after Hendrycks' normalisation.
`lm-eval-flexible`  lm-evaluation-harness, task gsm8k, filter flexible-extract: the last number anywhere.
"""

import re
from collections.abc import Callable
from fractions import Fraction

MARK = "The answer is: "

NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:/\d[\d,]*)?")
FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
IGNORED = re.compile(r",|\$|(?s:.*)#### |\.$")
"""lm-eval's regexes_to_ignore of gsm8k."""


def metamath_number(text: str) -> int | None:
    """The first number after the last mark, of a fraction its value, rounded to a whole one; None without a number."""
    _, mark, rest = text.rpartition(MARK)
    found = NUMBER.search(rest) if mark else None
    if found is None:
        return None
    numerator, _, denominator = found[0].replace(",", "").partition("/")
    try:
        return round(Fraction(numerator) / Fraction(denominator or 1))
    except (ZeroDivisionError, ValueError):  # the latter: more than the 4,300 digits that Python reads
        return None


def metamath_text(text: str) -> str | None:
    """What follows the last mark, to the end of its sentence, normalised; None where there is no mark."""
    _, mark, rest = text.rpartition(MARK)
    if not mark:
        return None
    return normalised(rest.partition(".\n")[0].strip().removesuffix("."))


def flexible_number(text: str) -> str | None:
    """The last number anywhere in the text, as lm-eval's flexible-extract finds it."""
    found = FLEXIBLE.findall(text)
    if not found:
        return None
    return IGNORED.sub("", next(group for group in found[-1] if group).strip()).lower()


def boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{...}`` or ``\fbox{...}`` of a solution in MATH."""
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if start < 0:
        return None
    if text.startswith("\\boxed ", start):
        return text[start + len("\\boxed ") :].partition("$")[0]
    depth, first = 0, text.find("{", start)
    for place in range(first, len(text)) if first >= 0 else ():
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[first + 1 : place]
    return None


def reference(text: str) -> str | None:
    """The answer of a reference response: after ``####``, in a box, or after MetaMath's mark."""
    if "#### " in text:
        return text.rpartition("#### ")[2].partition("\n")[0].strip()
    return boxed(text) or (text.rpartition(MARK)[2].strip() if MARK in text else None)


def normalised(text: str) -> str:
    r"""A MATH answer as the benchmark's is_equiv compares it (Hendrycks et al. 2021, math_equivalence.py)."""
    for old, new in (("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", "")):
        text = text.replace(old, new)
    for old in ("\\right", "^{\\circ}", "^\\circ", "\\$", "\\%", "%"):
        text = text.replace(old, "")
    text = re.split(r"\\text\{ ", text)[0] if text.count("\\text{ ") == 1 else text
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    text = f"0{text}" if text.startswith(".") else text
    left, equals, right = text.partition("=")
    text = right if equals and len(left) <= 2 and "=" not in right else text
    text = re.sub(r"\\sqrt(\w)", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac([^{\\])([^{\\])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac([^{\\])\{", r"\\frac{\1}{", text)
    text = "\\frac{1}{2}" if text == "0.5" else text
    return re.sub(r"^(-?\d+)/(-?\d+)$", r"\\frac{\1}{\2}", text)


def _same_number(text: str, expected: str) -> bool:
    wanted = metamath_number(f"{MARK}{expected}")
    return wanted is not None and metamath_number(text) == wanted


def _same_text(text: str, expected: str) -> bool:
    return metamath_text(text) == normalised(expected)


def _same_flexible(text: str, expected: str) -> bool:
    return flexible_number(text) == IGNORED.sub("", expected.strip()).lower()


PROTOCOLS: dict[str, Callable[[str, str], bool]] = {
    "metamath": _same_number,
    "metamath-text": _same_text,
    "lm-eval-flexible": _same_flexible,
}
"""Name -> whether a generated text gives the expected answer."""
