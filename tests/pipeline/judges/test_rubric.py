"""The rubric judge: each answer is scored by itself, once, as the mean of what the judge might have said."""

import math

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RequestFailed
from pipeline.judge import resolve
from pipeline.judges._read_scores import Scale, read_distribution, read_scores
from pipeline.records import Reply, TokenChoice
from tests.harness.judging import SCRIPTED, judge_answers, quality, shown
from tests.harness.shards import prompt

fixed = settings(derandomize=True, max_examples=60, deadline=None)

GREEDY = {**SCRIPTED, "sampling": {"temperature": 0}}


def rubric(model=GREEDY, criteria=None, **fields):
    return {"kind": "rubric", "model": model, "criteria": criteria or {"good": "It is good."}, **fields}


def score_fairly(request):
    return f"good: {quality(shown(request)[0]):g}"


def test_an_answer_is_scored_once_however_often_it_is_compared():
    judged = judge_answers(rubric(), score_fairly, ["q=1", "q=2", "q=3", "q=5"])
    assert len(judged.asked) == 4
    assert judged.choices == ["B"] * 6
    assert [(v.score_a, v.score_b) for v in judged.verdicts] == [(1, 2), (1, 3), (1, 5), (2, 3), (2, 5), (3, 5)]
    assert {v.order for v in judged.verdicts} == {None}


def test_a_score_without_an_order_is_evidence_enough_to_pair():
    (verdict,) = judge_answers(rubric(), score_fairly, ["q=1", "q=2"]).verdicts
    assert (verdict.order, resolve([verdict]).result) == (None, "B")


def test_the_score_is_the_weighted_mean_over_the_criteria():
    criteria = {"true": {"weight": 3}, "brief": {"about": "short"}, "rhymes": {"weight": 0}}
    said = {"a": "true: 5\nbrief: 1\nrhymes: 1", "b": "true: 3\nbrief: 5\nrhymes: 5"}
    (verdict,) = judge_answers(rubric(criteria=criteria), lambda r: said[shown(r)[0]], ["a", "b"]).verdicts
    assert (verdict.score_a, verdict.score_b, verdict.choice) == (4.0, 3.5, "A")
    assert orjson.loads(verdict.reply)["b"] == {"scores": {"true": 3, "brief": 5, "rhymes": 5}, "replies": [said["b"]]}


def test_the_score_is_the_mean_of_k_samples_where_the_engine_gives_no_logprobs():
    judged = judge_answers(rubric(SCRIPTED), lambda r: f"good: {(2, 3, 5)[r.sample]}" if "a" in shown(r) else "good: 3", ["a", "b"])
    (verdict,) = judged.verdicts
    assert verdict.score_a == pytest.approx(10 / 3)
    assert verdict.score_b == 3
    assert sorted(r.sample for _, r in judged.asked) == [0, 0, 1, 1, 2, 2]
    assert {r.logprobs for _, r in judged.asked} == {0}


def test_at_temperature_0_one_sample_says_all():
    assert len(judge_answers(rubric(), score_fairly, ["q=1", "q=2"]).asked) == 2
    assert len(judge_answers(rubric(SCRIPTED, samples=5), score_fairly, ["q=1", "q=2"]).asked) == 10


def tokens(*parts):
    """A reply of these tokens; a dictionary is a place with the likelihood of each token, the first of which was taken."""
    taken = [next(iter(p)) if isinstance(p, dict) else p for p in parts]
    tops = [p if isinstance(p, dict) else {p: 1.0} for p in parts]
    logs = tuple(TokenChoice(t, tuple((w, math.log(x)) for w, x in top.items())) for t, top in zip(taken, tops, strict=True))
    return Reply("".join(taken), logprobs=logs)


def test_the_score_is_the_mean_of_the_distribution_where_the_engine_gives_it():
    said = {"a": tokens("good", ": ", {"4": 0.5, "5": 0.25, "?": 0.25}), "b": tokens("good", ":", {" 4": 0.9, " 3": 0.1})}
    judged = judge_answers(rubric(SCRIPTED), lambda r: said[shown(r)[0]], ["a", "b"], logprobs=True)
    (verdict,) = judged.verdicts
    assert (verdict.score_a, verdict.score_b) == (pytest.approx(13 / 3), pytest.approx(3.9))
    assert verdict.choice == "A"
    assert [(r.sample, r.logprobs) for _, r in judged.asked] == [(0, 20), (0, 20)]


def test_an_engine_that_promised_logprobs_and_gives_none_is_asked_for_samples():
    judged = judge_answers(rubric(SCRIPTED), lambda r: f"good: {r.sample + 1}", ["a", "b"], logprobs=True)
    assert sorted((r.sample, r.logprobs) for _, r in judged.asked) == [(0, 20), (0, 20), (1, 0), (1, 0), (2, 0), (2, 0)]
    assert judged.verdicts[0].score_a == 2


@pytest.mark.parametrize(("fields", "logprobs"), [({"distribution": False}, 0), ({"scale": [1, 10]}, 0), ({"scale": [0, 9]}, 20)])
def test_a_distribution_is_asked_for_only_where_it_can_be_read_and_is_wanted(fields, logprobs):
    judged = judge_answers(rubric(**fields), score_fairly, ["q=1", "q=2"], logprobs=True)
    assert {r.logprobs for _, r in judged.asked} == {logprobs}


def test_the_criteria_are_asked_together_or_one_by_one():
    criteria = {"true": {"about": "It is true.", "anchors": {5: "all of it", 1: "nothing"}}, "brief": "It is brief."}

    def say(request):
        return "\n".join(f"{name}: 3" for name in criteria if f"{name}: It is" in request.messages[0]["content"])

    together = judge_answers(rubric(criteria=criteria), say, ["a", "b"])
    apart = judge_answers(rubric(criteria=criteria, per_call="one"), say, ["a", "b"])
    assert (len(together.asked), len(apart.asked)) == (2, 4)
    assert together.choices == apart.choices == ["tie"]
    told = together.asked[0][1].messages[0]["content"]
    assert told.index("1 means: nothing") < told.index("5 means: all of it") < told.index("brief: It is brief.")
    assert sorted(sum(name in r.messages[0]["content"] for name in ("It is true", "It is brief")) for _, r in apart.asked) == [1] * 4


@pytest.mark.parametrize(("within", "choice"), [(0.0, "B"), (0.9, "B"), (1.0, "tie"), (2.0, "tie")])
def test_scores_that_lie_close_together_tie(within, choice):
    assert judge_answers(rubric(tie_within=within), score_fairly, ["q=3", "q=4"]).choices == [choice]


def test_a_score_that_cannot_be_read_is_asked_again_and_then_no_evidence():
    def say(request):
        return "hard to say" if shown(request) == ["b"] or request.sample < 2 else "good: 4"

    judged = judge_answers(rubric(), say, ["a", "b", "c"])
    assert judged.choices == ["invalid", "tie", "invalid"]
    assert [(v.reason, v.score_a, v.score_b) for v in judged.verdicts] == [
        ("unreadable", None, None), (None, 4, 4), ("unreadable", None, None),
    ]  # fmt: skip
    assert sorted(r.sample for _, r in judged.asked) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_failed_request_is_an_invalid_verdict_with_its_reason():
    judged = judge_answers(rubric(SCRIPTED), lambda r: RequestFailed("context_length", "too long"), ["a", "b"])
    assert [(v.choice, v.reason) for v in judged.verdicts] == [("invalid", "context_length")]
    assert len(judged.asked) == 2  # the other samples would be as long


@fixed
@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.floats(0, 3))
def test_swapping_the_sides_swaps_the_verdict(scores, within):
    texts, raw = [f"q={s}" for s in scores], rubric(tie_within=within)
    there = judge_answers(raw, score_fairly, texts, pairs=[(0, 1)]).verdicts[0]
    back = judge_answers(raw, score_fairly, texts, pairs=[(1, 0)]).verdicts[0]
    assert back.choice == {"A": "B", "B": "A"}.get(there.choice, there.choice)
    assert (back.score_a, back.score_b) == (there.score_b, there.score_a)


def test_the_judge_is_shown_the_reference_and_no_other_answer():
    judged = judge_answers(rubric(), score_fairly, ["q=1", "q=2"], to=prompt("Why?", reference="Because."))
    assert all("<reference>\nBecause.\n</reference>" in text for text in judged.texts)
    assert sorted(text.count("q=") for text in judged.texts) == [1, 1]


SAID = {
    "good: 4": 4,
    "Good : **4**": 4,
    "- good: 4/5": 4,
    '{"reason": "ok", "good": 4}': 4,
    'Sure: {"good": "4"} as you see': 4,
    "good: 2 was my first thought.\ngood: 4": 4,
    '{"good": 4': 4,
    "good: 7": None,
    "good: 4.5": None,
    "good: 45": None,
    "ungood: 4": None,
    "goods: 4": None,
    "good: four": None,
    '{"good": true}': None,
    '{"good": 4.5}': None,
    '{"better": 4}': None,
    "": None,
}


@pytest.mark.parametrize("text", SAID)
def test_a_score_is_read_where_it_is_said(text):
    scores = read_scores(Reply(text), ["good"], Scale(1, 5))
    assert (scores and scores["good"]) == SAID[text]


def test_all_criteria_or_nothing():
    assert read_scores(Reply("good: 4"), ["good", "brief"], Scale(1, 5)) is None
    assert read_distribution(tokens("good", ": ", "4"), ["good", "brief"], Scale(1, 5)) is None


DISTRIBUTIONS = {
    "json": (tokens('{"', "good", '":', " ", {"4": 0.6, "2": 0.4}, "}"), 3.2),
    "a space in the token": (tokens("good", ":", {" 4": 0.5, " 3": 0.3, "3": 0.2}), 3.5),
    "outside the scale": (tokens("good", ": ", {"4": 0.5, "9": 0.4, "x": 0.1}), 4),
    "the last one counts": (tokens("good", ": ", "1", "\n", "good", ": ", {"5": 0.5, "4": 0.5}), 4.5),
    "no number among the likeliest": (tokens("good", ": ", {"4 of 5": 1.0}), None),
    "no tokens": (Reply("good: 4"), None),
}


@pytest.mark.parametrize("case", DISTRIBUTIONS)
def test_a_distribution_is_read_at_the_place_of_the_score(case):
    reply, mean = DISTRIBUTIONS[case]
    found = read_distribution(reply, ["good"], Scale(1, 5))
    assert (found and found["good"]) == (mean and pytest.approx(mean))
