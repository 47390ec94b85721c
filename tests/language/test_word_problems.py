"""Problems that are right, of their split, and the same every time."""

import re

import pytest

from language.word_problems import FRAMES, SPLITS, STEPS, _draw, problems
from runtime.command_line import UserError

COUNT = 300
SETS = {split: list(problems(split, COUNT)) for split in SPLITS}


@pytest.mark.parametrize("split", SPLITS)
def test_every_line_of_a_response_is_right_and_leads_to_the_answer(split):
    for entry in SETS[split]:
        *steps, marked, last = entry["response"].split("\n")
        value = None
        for step in steps:
            left, sign, right, result = re.fullmatch(r"(\d+) ([-+*/]) (\d+) = (\d+)", step).groups()
            assert value in (None, left) and eval(f"{left} {sign} {right}") == int(result)
            value = result
        assert marked == f"#### {value}" and last == f"The answer is: {value}" and 1 <= int(value) <= 999


def test_a_backward_problem_asks_for_the_number_that_its_original_has():
    for entry in SETS["backward"]:
        x = entry["response"].rpartition(" ")[2]
        asked = entry["query"].partition(" If we know")[0].split()
        assert (
            asked.count("x") == 1
            and " ".join(x if word == "x" else word for word in asked) == entry["original_question"]
        )


@pytest.mark.slow
def test_no_split_has_the_numbers_or_the_text_of_training():
    def keys(split):
        drawn = (_draw(split, index, seed=0, most=9) for index in range(4000))
        return {(problem.frame.name, problem.numbers) for problem in drawn if problem}

    for split in SPLITS[1:]:
        assert len(keys(split)) > 50 and not keys("train") & keys(split), split
        assert not {entry["query"] for entry in SETS["train"]} & {entry["query"] for entry in SETS[split]}


def test_splits_are_what_they_say():
    steps = {split: {entry["response"].count(" = ") for entry in SETS[split]} for split in SPLITS}
    assert steps["train"] == steps["test"] == {1, 2} and steps["harder"] == {3}
    unseen = [re.sub(r"\W*\{\w\}\W*", "", last)[:12] for *_, last in STEPS.values()]
    for entry in SETS["train"]:
        assert not any(words and words in entry["query"] for words in unseen)
    assert len({entry["query"].split(" . ")[-1] for entry in SETS["train"]}) > len(FRAMES)


def test_the_same_seed_gives_the_same_problems_and_no_problem_comes_twice():
    assert list(problems("train", 50)) == SETS["train"][:50] != list(problems("train", 50, seed=1))
    for entries in SETS.values():
        assert len({entry["query"] for entry in entries}) == COUNT


def test_more_problems_than_there_are_is_one_line():
    with pytest.raises(
        UserError, match=r"1000 problems of the split rephrased are asked, with numbers up to 2 about 3"
    ):
        list(problems("rephrased", 1000, most=2))
