"""The listwise judge: one call ranks all answers, and the places they stand in cancel out."""

from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RequestFailed
from pipeline.judge import resolve
from pipeline.judges.listwise import read_ranking, share_out
from pipeline.records import Comparison, Reply
from tests.harness.judging import SCRIPTED, judge_answers, judge_comparisons, rank_fairly, shown
from tests.harness.shards import answer, prompt

fixed = settings(derandomize=True, max_examples=60, deadline=None)

FOUR = ["q=1", "q=4", "q=2", "q=3"]


def listwise(**fields):
    return {"kind": "listwise", "model": SCRIPTED, **fields}


def test_a_few_calls_hold_all_comparisons():
    judged = judge_answers(listwise(), rank_fairly, FOUR)
    assert len(judged.asked) == 2
    assert judged.choices == ["B", "B", "B", "A", "A", "B"]
    assert judged.verdicts[0].score_a == 0
    assert judged.verdicts[0].score_b == 1
    assert {v.order for v in judged.verdicts} == {None}
    assert resolve(judged.verdicts[:1]).result == "B"


@pytest.mark.parametrize("repetitions", [2, 4, 6])
def test_every_order_is_asked_with_its_reverse(repetitions):
    judged = judge_answers(listwise(repetitions=repetitions), rank_fairly, FOUR)
    orders = [shown(r) for _, r in judged.asked]
    assert len(orders) == repetitions
    assert sorted(orders) == sorted(order[::-1] for order in orders)


def test_a_repetition_is_never_the_same_asking():
    # Two answers have two orders only.
    judged = judge_answers(listwise(repetitions=8), rank_fairly, ["q=1", "q=2"])
    assert len({(r.messages[-1]["content"], r.sample) for _, r in judged.asked}) == len(judged.asked) == 8


def test_another_seed_shuffles_otherwise_and_the_same_one_does_not():
    def orders(seed):
        return [shown(r) for _, r in judge_answers(listwise(seed=seed), rank_fairly, FOUR).asked]

    assert orders(0) == orders(0)
    assert len({str(orders(seed)) for seed in range(8)}) > 4


@pytest.mark.parametrize("say", [lambda r: "Ranking: " + " > ".join(map(str, range(1, len(shown(r)) + 1))), lambda r: "Ranking: 4>3>2>1"])
def test_a_judge_that_looks_at_places_alone_finds_nobody_better(say):
    assert judge_answers(listwise(repetitions=4), say, FOUR).choices == ["tie"] * 6


@fixed
@given(st.permutations(range(4)), st.lists(st.booleans(), min_size=6, max_size=6), st.integers(0, 99))
def test_who_meets_whom_in_which_order_changes_nothing_for_a_consistent_judge(order, turned, seed):
    question = prompt("Which?")
    answers = [answer(question, str(n), text) for n, text in enumerate(FOUR)]
    pairs = [(order[i], order[j]) for i, j in combinations(range(4), 2)]
    pairs = [(j, i) if turn else (i, j) for (i, j), turn in zip(pairs, turned, strict=True)]
    comparisons = [Comparison.of(question.id, answers[i].id, answers[j].id) for i, j in pairs]
    judged = judge_comparisons(listwise(seed=seed), rank_fairly, question, {a.id: a for a in answers}, comparisons)
    assert judged.choices == ["A" if FOUR[i] > FOUR[j] else "B" for i, j in pairs]


def context_of(most):
    """A judge that reads no more than so many answers."""
    return lambda r: RequestFailed("context_length", "too long") if len(shown(r)) > most else rank_fairly(r)


@pytest.mark.parametrize("most", [2, 3, 5, 6])
def test_answers_that_do_not_fit_are_ranked_in_smaller_groups(most):
    texts = [f"q={n}" for n in (5, 3, 6, 1, 4, 2, 9)]
    judged = judge_answers(listwise(), context_of(most), texts)
    assert judged.choices == ["A" if a > b else "B" for a, b in combinations(texts, 2)]
    assert [c.comparison_id for c in judged.verdicts] == [c.comparison_id for c in judge_answers(listwise(), rank_fairly, texts).verdicts]


def test_two_answers_that_do_not_fit_are_no_evidence():
    judged = judge_answers(listwise(), context_of(1), ["q=1", "q=2", "q=3"])
    assert [(v.choice, v.reason) for v in judged.verdicts] == [("invalid", "context_length")] * 3


@pytest.mark.parametrize("most", [2, 3, 4])
def test_no_more_answers_are_shown_than_asked(most):
    judged = judge_answers(listwise(at_once=most), rank_fairly, [f"q={n}" for n in range(7)])
    assert max(len(shown(r)) for _, r in judged.asked) <= most
    assert judged.choices == ["B"] * 21


def test_only_answers_that_are_compared_are_shown():
    judged = judge_answers(listwise(), rank_fairly, FOUR, pairs=[(0, 1), (1, 2)])
    assert [sorted(shown(r)) for _, r in judged.asked] == [["q=1", "q=2", "q=4"]] * 2


@pytest.mark.parametrize("count", range(3, 12))
def test_the_groups_share_out_every_comparison_once(count):
    ids = tuple(map(str, range(count)))
    comparisons = [Comparison.of("p", a, b) for a, b in permutations(ids, 2)]
    groups = share_out(ids, comparisons)
    assert sorted(c.id for group in groups for c in group) == sorted(c.id for c in comparisons)
    assert max(len({side for c in group for side in (c.a, c.b)}) for group in groups) <= -(-count * 2 // 3) < count


def test_a_ranking_that_stays_unreadable_leaves_no_verdict_from_its_reverse_alone():
    judged = judge_answers(listwise(), lambda r: rank_fairly(r) if shown(r)[0] == "q=1" else "all are fine", ["q=1", "q=2"])
    assert [(v.choice, v.reason, v.score_a) for v in judged.verdicts] == [("invalid", "unreadable", None)]
    assert len(judged.asked) == 1 + 3


def test_a_criterion_and_a_reference_reach_the_judge():
    criteria = {"maths": "Prefer the right number.", "default": "Prefer the short one."}
    for category, said in (("maths", "right number"), ("other", "short one"), (None, "short one")):
        to = prompt("Why?", reference="Because.", category=category)
        judged = judge_answers(listwise(criteria=criteria), rank_fairly, ["q=1", "q=2"], to=to)
        assert all(said in r.messages[0]["content"] for _, r in judged.asked)
        assert all("<reference>\nBecause.\n</reference>" in text for text in judged.texts)


SAID = {
    "Ranking: 3 > 1 > 2": "cab",
    "ranking: **3 > 1 > 2**": "cab",
    "Ranking: 3, 1, 2": "cab",
    "Ranking: answer_3 > answer_1 > answer_2": "cab",
    "Ranking: 1 > 2 > 3 would be wrong.\nRanking: 3 > 1 > 2": "cab",
    '{"reason": "3 is best", "ranking": [3, 1, 2]}': "cab",
    '{"ranking": ["3", "1", "answer_2"]}': "cab",
    "Ranking: 3 > 1": None,
    "Ranking: 3 > 1 > 1": None,
    "Ranking: 3 > 1 > 2 > 4": None,
    "Ranking: 3 > 1 > 4": None,
    '{"ranking": [3, 1]}': None,
    '{"ranking": [true, 2, 3]}': None,
    "3 > 1 > 2": None,
    "": None,
}


@pytest.mark.parametrize("text", SAID)
def test_a_ranking_is_read_where_it_is_whole(text):
    assert read_ranking(Reply(text), ("a", "b", "c")) == (SAID[text] and tuple(SAID[text]))
