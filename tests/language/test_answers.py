"""The published patterns of both protocols, on what models write."""

import json
import random
import sys

import pytest

from language import check_against_lm_eval
from language.answers import PROTOCOLS, boxed, flexible_number, metamath_number, metamath_text, reference
from language.scores import accuracy, mcnemar
from runtime.command_line import UserError

TEXTS = [
    # generated, metamath's number, lm-eval's flexible extract
    ("2 + 2 = 4\n#### 4\nThe answer is: 4", 4, "4"),
    ("The answer is: 1,234.", 1234, "1234"),
    ("The answer is: $12.50 each", 12, "12.50"),
    ("The answer is: 3/4", 1, "4"),
    ("The answer is: 7/0", None, "0"),
    ("The answer is: -5", -5, "-5"),
    ("The answer is: 3. The answer is: 8 apples", 8, "8"),
    ("So he has 12 dollars.", None, "12"),
    ("no number at all", None, None),
    ("The answer is: none", None, None),
]


@pytest.mark.parametrize("text, number, flexible", TEXTS)
def test_numbers_are_found_as_each_protocol_finds_them(text, number, flexible):
    assert metamath_number(text) == number and flexible_number(text) == flexible


@pytest.mark.parametrize(
    "text, answer",
    [
        (r"The answer is: \frac{1}{2}", r"\frac12"),
        (r"The answer is: 0.5.", r"\dfrac{1}{2}"),
        (r"The answer is: x = 3", "3"),
        (r"The answer is: 90^\circ", "90"),
        (r"The answer is: 2/3", r"\frac{2}{3}"),
        (r"The answer is: \sqrt3", r"\sqrt{3}"),
        (r"The answer is: 5 \text{ cm}", "5"),
    ],
)
def test_texts_that_mean_the_same_are_equal(text, answer):
    assert PROTOCOLS["metamath-text"](text, answer)
    assert not PROTOCOLS["metamath-text"](text, answer + "1") and metamath_text("no mark") is None


def test_the_answer_of_a_reference_response():
    assert reference("He has 5.\n#### 1,005") == "1,005"
    assert reference(r"so $x = \boxed{\frac{1}{2}}$ holds") == r"\frac{1}{2}"
    assert boxed(r"\boxed{a} then \boxed{b{c}d}") == "b{c}d" and boxed("none") is None and boxed(r"\boxed{open") is None
    assert reference("The answer is: 3") == "3" and reference("nothing") is None


@pytest.mark.parametrize("protocol", ["metamath", "lm-eval-flexible"])
def test_a_right_answer_counts_and_a_wrong_or_missing_one_does_not(protocol):
    same = PROTOCOLS[protocol]
    assert same("The answer is: 1,005", "1,005") and not same("The answer is: 1,006", "1,005") and not same("", "5")


def test_lm_eval_itself_judges_as_the_flexible_protocol_does(tmp_path, monkeypatch, capsys):
    """Its task's own pattern, filter and metric, on answers made of pieces that the pattern tells apart."""
    pytest.importorskip("lm_eval")
    source = random.Random(0)
    pieces = ["4", "12", "1,005", "$3.50", ".", ",", "-", "$", " ", "#### ", "The answer is: ", "x", "\n", "7.", "3/4"]
    items = [{"generated": text, "expected": str(flexible or 4)} for text, _, flexible in TEXTS]
    for _ in range(300):
        text = "".join(source.choices(pieces, k=source.randint(0, 8)))
        items.append({"generated": text, "expected": source.choice(["4", "12", "1,005", "3.50", "-4", "7", "."])})
    lines = [json.dumps({"index": k, "right": True, **item}) + "\n" for k, item in enumerate(items)]
    (tmp_path / "items.jsonl").write_text("".join(lines))
    assert check_against_lm_eval.main([str(tmp_path)]) == 0
    assert "0 verdicts differ" in capsys.readouterr().out
    monkeypatch.setitem(PROTOCOLS, "lm-eval-flexible", lambda text, expected: True)
    assert check_against_lm_eval.main([str(tmp_path)]) == 1


def test_without_lm_eval_the_check_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match="lm_eval.* is not installed; pip install lm-eval"):
        check_against_lm_eval.verdicts(["4"], ["4"])


def test_a_share_has_the_binomial_error_and_two_models_are_compared_on_what_one_alone_answers():
    assert accuracy([True] * 3 + [False]) == (75.0, pytest.approx(100 * (0.75 * 0.25 / 4) ** 0.5))
    a, b = [True] * 13 + [False] * 7 + [True] * 5, [False] * 13 + [True] * 7 + [True] * 5
    only_a, only_b, p = mcnemar(a, b)
    assert (only_a, only_b) == (13, 7) and p == pytest.approx(0.2631760)  # scipy.stats.binomtest(7, 20).pvalue
    assert mcnemar([True], [True]).p == 1
