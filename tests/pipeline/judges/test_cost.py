"""Verdicts carry what they took: together all that was spent, whichever judge, and the same again out of the cache."""

import pytest

from pipeline.records import Reply, Request
from tests.harness.judging import SCRIPTED, Judged, compare_fairly, judge_answers, rank_fairly

PRICED = {**SCRIPTED, "price": {"prompt": 2.0, "completion": 10.0}, "sampling": {"temperature": 0}}
TEXTS = ["q=1", "q=2", "q=3"]


def say(request: Request) -> Reply:
    text = request.messages[-1]["content"]
    said = rank_fairly(request) if "Ranking" in text or "ranking" in text else compare_fairly(request) if "answer_2" in text else "good: 3"
    return Reply(said, prompt_tokens=len(text), completion_tokens=len(said))


RAW = {
    "pairwise": {"kind": "pairwise", "model": PRICED},
    "rubric": {"kind": "rubric", "model": PRICED, "criteria": {"good": "It is good."}},
    "listwise": {"kind": "listwise", "model": PRICED},
}
RAW["jury"] = {"kind": "jury", "judges": list(RAW.values())}


def spent(judged: Judged) -> tuple[float, float, float]:
    every = [(v.prompt_tokens or 0, v.completion_tokens or 0, v.dollars or 0) for v in judged.verdicts]
    return tuple(sum(column) for column in zip(*every, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("kind", RAW)
def test_the_verdicts_together_cost_what_was_spent(kind: str, tmp_path) -> None:
    judged = judge_answers(RAW[kind], say, TEXTS, pairs=[(0, 1), (0, 2)], cache=tmp_path / "replies.sqlite")
    total = judged.budget.total()
    assert total.prompt_tokens > 0
    assert spent(judged) == pytest.approx((total.prompt_tokens, total.completion_tokens, total.dollars))
    assert {v.choice for v in judged.verdicts} <= {"A", "B", "tie"}


@pytest.mark.parametrize("kind", RAW)
def test_out_of_the_cache_they_cost_the_same(kind: str, tmp_path) -> None:
    first, again = (judge_answers(RAW[kind], say, TEXTS, cache=tmp_path / "replies.sqlite") for _ in range(2))
    assert again.asked == []
    assert again.verdicts == first.verdicts


def test_every_attempt_counts() -> None:
    replies = iter(["what?", "Verdict: 1"])
    judged = judge_answers(
        {"kind": "pairwise", "orders": "one", "model": {**PRICED, "sampling": {"temperature": 1}}},
        lambda _: Reply(next(replies), prompt_tokens=3, completion_tokens=5),
        TEXTS[:2],
    )
    assert [(v.prompt_tokens, v.completion_tokens) for v in judged.verdicts] == [(6, 10)]


def test_what_nobody_counted_is_unknown() -> None:
    judged = judge_answers({"kind": "pairwise", "model": SCRIPTED}, compare_fairly, TEXTS[:2])
    assert {(v.prompt_tokens, v.completion_tokens, v.dollars) for v in judged.verdicts} == {(None, None, None)}
