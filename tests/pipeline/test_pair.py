"""A strategy proposes; ties, invalid verdicts and equal texts never pair, and rows are conserved."""

from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.judge import Outcome, resolve
from pipeline.pair import Judged, pair
from pipeline.plugins import load_plugin
from pipeline.records import Answer, Comparison, Prompt
from pipeline.tables import to_table
from tests.harness.shards import answer, prompt, roster, scored, verdict

CHOICES = ("A", "B", "tie", "invalid")
MODELS = roster(m0=None, m1=None, m2=None, m3=None, m4=None, m5=None)


def make(prompts, answers, strategy, judged=None, models=MODELS, seed=0, **fields):
    module = load_plugin("strategies", strategy)
    return pair(prompts, answers, judged, module, module.Settings(**fields), models, seed)


def rows(table):
    return [(r["chosen"], r["rejected"]) for r in table.to_pylist()]


def reasons(table):
    return sorted(table["reason"].to_pylist())


def judged_pair(first, second, strategy="strong_weak", text_b="b", **fields):
    """One prompt, a strong and a weak answer, verdicts in both orders."""
    p = prompt("p")
    answers = [answer(p, "strong", "a"), answer(p, "weak", text_b)]
    comparison = Comparison.of(p.id, answers[0].id, answers[1].id)
    outcome = resolve([verdict(comparison.id, first, "AB"), verdict(comparison.id, second, "BA")])
    judged = Judged(to_table(Comparison, [comparison]), [outcome])
    models = roster(strong="strong", weak="weak")
    return make(to_table(Prompt, [p]), to_table(Answer, answers), strategy, judged, models, **fields)


@pytest.mark.parametrize(("first", "second"), list(product(CHOICES, CHOICES)))
@pytest.mark.parametrize("strategy", ["strong_weak", "best_worst", "all_pairs", "best_random"])
def test_a_pair_needs_the_same_winner_in_both_orders(first, second, strategy):
    pairs, dropped = judged_pair(first, second, strategy)
    won = {("A", "A"): ("a", "b"), ("B", "B"): ("b", "a")}.get((first, second))
    if strategy == "strong_weak" and won == ("b", "a"):
        assert rows(pairs) == []
        assert reasons(dropped) == ["judge_disagrees"]
    elif won:
        assert rows(pairs) == [won]
        assert len(dropped) == 0
    else:
        assert rows(pairs) == []
        assert len(dropped) == 1


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("A", "B", "flipped"),
        ("tie", "tie", "tie"),
        ("A", "tie", "tie_in_one_order"),
        ("A", "invalid", "invalid"),
        ("invalid", "invalid", "invalid"),
    ],
)
@pytest.mark.parametrize("strategy", ["strong_weak", "best_worst", "all_pairs", "best_random"])
def test_what_does_not_pair_is_dropped_under_its_own_name(first, second, reason, strategy):
    _, dropped = judged_pair(first, second, strategy)
    assert reasons(dropped) == [reason]


@pytest.mark.parametrize("strategy", ["strong_weak", "best_worst", "all_pairs", "best_random"])
def test_equal_texts_never_pair_whatever_the_verdict(strategy):
    pairs, dropped = judged_pair("A", "A", strategy, text_b="a")
    assert len(pairs) == 0
    assert reasons(dropped) == ["equal_texts"]


def test_strong_over_weak_needs_no_judge():
    prompts = [prompt("p"), prompt("q"), prompt("r")]
    p, q, r = prompts
    answers = [
        answer(p, "strong", "good"), answer(p, "weak", "bad"), answer(p, "weak", "worse", sample=1),
        answer(q, "strong", "same"), answer(q, "weak", "same"),
        answer(r, "strong", "alone"),
    ]  # fmt: skip
    made, dropped = make(
        to_table(Prompt, prompts), to_table(Answer, answers), "strong_weak", models=roster(strong="strong", weak="weak", human=None)
    )
    assert rows(made) == [("good", "bad"), ("good", "worse")]
    assert set(made["source"].to_pylist()) == {"strength"}
    assert made["chosen_model"].to_pylist() == ["the strong", "the strong"]
    assert reasons(dropped) == ["equal_texts", "too_few_answers"]


def test_a_cycle_of_verdicts_pairs_each_winner_over_its_loser():
    p = prompt("p")
    answers = [answer(p, f"m{i}", f"t{i}") for i in range(3)]
    comparisons = [Comparison.of(p.id, a.id, b.id) for a, b in combinations(answers, 2)]
    outcomes = [Outcome(r, "llm") for r in ("A", "B", "A")]  # 0 beats 1, 2 beats 0, 1 beats 2
    judged = Judged(to_table(Comparison, comparisons), outcomes)
    made, dropped = make(to_table(Prompt, [p]), to_table(Answer, answers), "all_pairs", judged)
    assert set(rows(made)) == {("t0", "t1"), ("t2", "t0"), ("t1", "t2")}
    assert len(dropped) == 0


def test_scores_of_a_pair_are_those_of_its_own_comparison():
    p = prompt("p")
    answers = [answer(p, f"m{i}", f"t{i}") for i in range(3)]
    comparisons = [Comparison.of(p.id, a.id, b.id) for a, b in combinations(answers, 2)]
    outcomes = [Outcome("A", "llm", 9, 8), Outcome("A", "llm", 5, 1), Outcome("A", "llm", 7, 2)]
    made, _ = make(to_table(Prompt, [p]), to_table(Answer, answers), "all_pairs", Judged(to_table(Comparison, comparisons), outcomes))
    assert [(r["score_chosen"], r["score_rejected"], r["margin"]) for r in made.to_pylist()] == [(9, 8, 1), (5, 1, 4), (7, 2, 5)]


def test_answers_that_nobody_compared_are_named():
    p = prompt("p")
    answers = [answer(p, f"m{i}", f"t{i}") for i in range(2)]
    judged = Judged(to_table(Comparison, []), [])
    for strategy in ("all_pairs", "best_worst"):
        made, dropped = make(to_table(Prompt, [p]), to_table(Answer, answers), strategy, judged)
        assert len(made) == 0
        assert reasons(dropped) == ["no_verdict"]


def test_a_prompt_without_answers_is_named_too():
    for strategy in ("strong_weak", "best_worst", "all_pairs", "best_random"):
        made, dropped = make(to_table(Prompt, [prompt("p")]), to_table(Answer, []), strategy, models=roster(s="strong", w="weak"))
        assert len(made) == 0
        assert reasons(dropped) == ["too_few_answers"]


SCORES = st.lists(st.lists(st.one_of(st.none(), st.integers(0, 4).map(float)), max_size=6), min_size=1, max_size=6)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(SCORES)
def test_best_worst_agrees_with_its_definition(given_scores):
    made, dropped = make(*scored(*given_scores), "best_worst")
    expected = {}
    for p, scores in enumerate(given_scores):
        known = [s for s in scores if s is not None]
        if len(known) >= 2 and max(known) > min(known):
            expected[p] = (max(known), min(known))
    assert {(r["score_chosen"], r["score_rejected"]) for r in made.to_pylist()} == set(expected.values())
    assert len(made) == len(expected)
    assert len(made) + len(dropped) == len(given_scores)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(SCORES)
def test_all_pairs_of_scores_agrees_with_its_definition(given_scores):
    made, dropped = make(*scored(*given_scores), "all_pairs")
    expected = 0
    for scores in given_scores:
        known = [s for s in scores if s is not None]
        expected += sum(a != b for a, b in combinations(known, 2))
    assert len(made) == expected
    assert all(m > 0 for m in made["margin"].to_pylist())
    assert set(made["prompt_id"].to_pylist()) | set(dropped["prompt_id"].to_pylist()) == set(scored(*given_scores)[0]["id"].to_pylist())


@settings(derandomize=True, max_examples=150, deadline=None)
@given(SCORES, st.integers(1, 3), st.integers(0, 3), st.integers(0, 4))
def test_margin_agrees_with_its_definition(given_scores, low, width, floor):
    made, dropped = make(*scored(*given_scores), "margin", min_margin=low, max_margin=low + width, min_chosen=floor)
    expected = []
    for scores in given_scores:
        known = [s for s in scores if s is not None]
        best = max(known, default=0)
        inside = [best - s for s in known if low <= best - s <= low + width]
        if inside and best >= floor:
            expected.append((best, max(inside)))
    assert sorted((r["score_chosen"], r["margin"]) for r in made.to_pylist()) == sorted(expected)
    assert len(made) + len(dropped) == len(given_scores)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(SCORES, st.integers(0, 2**40))
def test_best_random_chooses_the_best_and_never_a_tie(given_scores, seed):
    made, dropped = make(*scored(*given_scores), "best_random", seed=seed)
    for row in made.to_pylist():
        assert row["score_chosen"] > row["score_rejected"]
    assert len(made) + len(dropped) == len(given_scores)
    again, _ = make(*scored(*given_scores), "best_random", seed=seed)
    assert made.equals(again)


def test_best_random_draws_every_other_answer_about_as_often():
    made, _ = make(*scored(*[[0, 1, 2, 3]] * 3000), "best_random")
    counts = [made["score_rejected"].to_pylist().count(s) for s in (0, 1, 2)]
    assert len(made) == 3000
    assert all(880 < c < 1120 for c in counts), counts


def test_margins_at_the_windows_edges_are_inside():
    made, _ = make(*scored([0.3, 0.2]), "margin", min_margin=0.1)
    assert len(made) == 1
    _, dropped = make(*scored([5, 1], [2, 2], [3, 2]), "margin", min_margin=1, max_margin=2, min_chosen=3)
    assert reasons(dropped) == ["margin_too_large", "margin_too_small"]
