"""Verdicts on one comparison become one outcome; nothing but agreement in both orders is a win."""

from itertools import product

import pytest

from pipeline.judge import resolve
from tests.harness.shards import verdict

CHOICES = ("A", "B", "tie", "invalid")


@pytest.mark.parametrize(("first", "second"), list(product(CHOICES, CHOICES)))
def test_a_model_wins_only_where_both_orders_agree(first, second):
    result = resolve([verdict("c", first, "AB"), verdict("c", second, "BA")]).result
    if "invalid" in (first, second):
        assert result == "invalid"
    elif first == second:
        assert result == first
    elif "tie" in (first, second):
        assert result == "split_tie"
    else:
        assert result == "flipped"


@pytest.mark.parametrize("choice", CHOICES)
def test_one_order_of_a_model_is_no_evidence_unless_accepted(choice):
    one = [verdict("c", choice, "AB")]
    assert resolve(one).result == ("invalid" if choice == "invalid" else "one_order")
    assert resolve(one, accept_one_order=True).result == choice


@pytest.mark.parametrize("source", ["human", "rule"])
@pytest.mark.parametrize("choice", CHOICES)
def test_people_and_rules_need_no_second_order(source, choice):
    assert resolve([verdict("c", choice, source=source)]).result == choice


def test_swapping_the_sides_of_every_verdict_swaps_the_outcome():
    swap = {"A": "B", "B": "A"}
    for first, second in product(CHOICES, CHOICES):
        one = resolve([verdict("c", first, "AB"), verdict("c", second, "BA")]).result
        other = resolve([verdict("c", swap.get(first, first), "AB"), verdict("c", swap.get(second, second), "BA")]).result
        assert other == swap.get(one, one)


def test_several_judges_decide_by_majority_and_invalid_ones_do_not_vote():
    def judges(*choices):
        return resolve([verdict("c", choice, source="human", judge=f"j{i}") for i, choice in enumerate(choices)]).result

    assert judges("A", "A", "B") == "A"
    assert judges("A", "B") == "tie"
    assert judges("A", "invalid", "invalid") == "A"
    assert judges("invalid", "invalid") == "invalid"
    assert judges("A", "tie", "B") == "tie"


def test_scores_are_means_over_the_verdicts_that_have_them():
    outcome = resolve([verdict("c", "A", "AB", a=8.0, b=6.0), verdict("c", "A", "BA", a=9.0, b=5.0)])
    assert (outcome.score_a, outcome.score_b) == (8.5, 5.5)
