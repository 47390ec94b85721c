"""The published patterns of both protocols, on what models write."""

import pytest

from language.answers import PROTOCOLS, boxed, flexible_number, metamath_number, metamath_text, reference

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
