"""The pairwise judge is told what its settings say: what counts for a category, the reference, whether to argue first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.judge import resolve
from tests.harness.judging import SCRIPTED, compare_fairly, judge_answers
from tests.harness.shards import prompt

fixed = settings(derandomize=True, max_examples=60, deadline=None)

CRITERIA = {"maths": "Prefer the right number.", "default": "Prefer the short one."}


def pairwise(**fields):
    return {"kind": "pairwise", "model": SCRIPTED, **fields}


@pytest.mark.parametrize(
    ("criteria", "category", "told"),
    [
        (CRITERIA, "maths", "Prefer the right number."),
        (CRITERIA, "history", "Prefer the short one."),
        (CRITERIA, None, "Prefer the short one."),
        ({"maths": CRITERIA["maths"]}, "history", None),
        ({"maths": CRITERIA["maths"]}, None, None),
        ({}, "maths", None),
    ],
)
def test_what_counts_for_a_category_is_told_in_both_orders(criteria, category, told):
    judged = judge_answers(pairwise(criteria=criteria), compare_fairly, ["q=1", "q=2"], to=prompt("Why?", category=category))
    systems = [r.messages[0]["content"] for _, r in judged.asked]
    assert [s.partition("For this kind of question: ")[2] or None for s in systems] == [told] * 2


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("reason", [True, False])
def test_a_reason_is_asked_for_before_the_verdict_or_not_at_all(structured, reason):
    raw = pairwise(model={**SCRIPTED, "structured": structured}, reason=reason)
    _, request = judge_answers(raw, compare_fairly, ["q=1", "q=2"]).asked[0]
    assert list(request.schema["properties"]) == (["reason", "verdict"] if reason else ["verdict"])
    said = request.messages[-1]["content"].rpartition("Which answer is better?")[2]
    assert ("one or two sentences" in said) is reason
    assert ("JSON" in said) is structured


def test_a_reference_is_shown_where_there_is_one():
    shown = judge_answers(pairwise(), compare_fairly, ["q=1", "q=2"], to=prompt("Why?", reference="Because.")).texts
    assert ["<reference>\nBecause.\n</reference>" in text for text in shown] == [True, True]
    assert ["<reference>" in text for text in judge_answers(pairwise(), compare_fairly, ["q=1", "q=2"]).texts] == [False, False]


@fixed
@given(st.sampled_from(["q=1", "q=2", "q=3"]), st.sampled_from(["q=1 x", "q=2 x", "q=3 x"]))
def test_swapping_the_sides_swaps_the_verdict(a, b):
    there = resolve(judge_answers(pairwise(), compare_fairly, [a, b], pairs=[(0, 1)]).verdicts).result
    back = resolve(judge_answers(pairwise(), compare_fairly, [a, b], pairs=[(1, 0)]).verdicts).result
    assert back == {"A": "B", "B": "A"}.get(there, there)
