"""Judges one after the other: who decides is heard, and only what is left is asked of the next."""

import pytest

from pipeline.errors import RequestFailed
from tests.harness.judging import SCRIPTED, compare_fairly, judge_answers

RULE = {"kind": "rule", "pattern": "right"}
PAIRWISE = {"kind": "pairwise", "model": SCRIPTED}


def first(*judges, **fields):
    return {"kind": "first", "judges": list(judges), **fields}


def test_a_rule_decides_where_it_can_and_the_judge_the_rest():
    judged = judge_answers(first(RULE, PAIRWISE, ties="pass"), compare_fairly, ["right q=1", "wrong q=9", "right q=2"])
    assert [(v.judge, v.choice) for v in judged.verdicts] == [
        ("rule", "A"),
        ("pairwise:judge.2", "B"),
        ("pairwise:judge.2", "B"),
        ("rule", "B"),
    ]
    assert len(judged.asked) == 2


def test_a_tie_is_a_decision_unless_it_is_passed_on():
    assert [v.choice for v in judge_answers(first(RULE, PAIRWISE), compare_fairly, ["right q=1", "right q=2"]).verdicts] == ["tie"]
    passed = judge_answers(first(RULE, PAIRWISE, ties="pass"), compare_fairly, ["right q=1", "right q=2"])
    assert passed.choices == ["B", "B"]


def test_a_prompt_without_a_rule_goes_to_the_judge():
    raw = first({"kind": "rule", "pattern_column": "rule"}, PAIRWISE)
    assert judge_answers(raw, compare_fairly, ["q=1", "q=2"]).choices == ["B", "B"]


def test_what_flips_goes_to_the_next_and_what_the_last_says_stays():
    cheap, dear = ({**PAIRWISE, "name": name} for name in ("cheap", "dear"))
    says = {"judge.cheap": lambda r: "Verdict: 1", "judge.dear": compare_fairly}
    judged = judge_answers(first(cheap, dear), says, ["q=1", "q=2"])
    assert [(v.judge, v.choice) for v in judged.verdicts] == [("pairwise:judge.dear", "B")] * 2
    judged = judge_answers(first(dear, cheap), says, ["q=1", "q=2"])
    assert [name for name, _ in judged.asked] == ["judge.dear"] * 2
    judged = judge_answers(first(cheap, cheap | {"name": "cheap2"}), {**says, "judge.cheap2": lambda r: "Verdict: 2"}, ["q=1", "q=2"])
    assert [(v.judge, v.choice) for v in judged.verdicts] == [("pairwise:judge.cheap2", "B"), ("pairwise:judge.cheap2", "A")]


@pytest.mark.parametrize(("reason", "asked"), [("timeout", {"judge.cheap"}), ("rejected", {"judge.cheap", "judge.dear"})])
def test_a_bad_day_of_a_server_hands_nothing_on_since_it_is_asked_again(reason, asked):
    cheap, dear = ({**PAIRWISE, "name": name} for name in ("cheap", "dear"))
    says = {"judge.cheap": lambda r: RequestFailed(reason, "-"), "judge.dear": compare_fairly}
    judged = judge_answers(first(cheap, dear), says, ["q=1", "q=2"])
    assert {name for name, _ in judged.asked} == asked
    assert {v.reason for v in judged.verdicts} == ({reason} if len(asked) == 1 else {None})


def test_a_jury_is_heard_where_the_rule_says_nothing():
    jurors = [{"kind": "pairwise", "model": {**SCRIPTED, "model": n}, "name": n, "weight": w} for n, w in (("x", 2), ("y", 1))]
    jury = {"kind": "jury", "judges": jurors}
    judged = judge_answers(first(RULE, jury, ties="pass"), compare_fairly, ["right q=1", "right q=2"])
    assert {v.judge for v in judged.verdicts} == {"x", "y"}
    assert {name for name, _ in judged.asked} == {"judge.2.x", "judge.2.y"}
