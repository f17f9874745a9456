"""The rules, at their edges."""

import pytest

from pipeline.errors import RecipeError
from pipeline.evaluate.decide import decide
from pipeline.evaluation import PromoteSettings


def rate(low, value=0.6):
    return {"value": value, "low": low, "high": 0.9, "n": 100}


def verdict(low=0.51, metrics=None, **settings):
    return decide(rate(low), metrics or {}, PromoteSettings(**settings)).verdict


def test_the_lower_end_of_the_interval_decides_and_not_the_rate_itself():
    assert verdict(low=0.501) == "promote"
    assert verdict(low=0.499) == "reject"


def test_exactly_as_good_as_before_is_not_better():
    assert verdict(low=0.5) == "reject"


@pytest.mark.parametrize(("after", "expected"), [(0.80, "promote"), (0.78, "promote"), (0.779, "reject"), (0.9, "promote")])
def test_a_guard_may_fall_by_so_much_and_no_more(after, expected):
    assert verdict(metrics={"skills": (0.8, after)}, max_drop=0.02) == expected


def test_a_guard_that_could_not_be_measured_keeps_nothing():
    decision = decide(rate(0.6), {"skills": (0.8, None)}, PromoteSettings())
    assert decision.verdict == "reject"
    assert "could not be measured" in decision.reasons[1]


def test_only_named_guards_count_where_the_recipe_names_some():
    metrics = {"skills": (0.9, 0.1), "skills.maths": (0.5, 0.5)}
    assert verdict(metrics=metrics) == "reject"
    assert verdict(metrics=metrics, guards=["skills.maths"]) == "promote"
    assert verdict(metrics=metrics, guards=[]) == "promote"


def test_a_model_that_credits_everything_to_its_maker_is_rejected_without_being_told():
    metrics = {"identity": (0.0, 1.0), "identity.without_overgeneral": (1.0, 0.67), "identity.families": (0.5, 0.1)}
    decision = decide(rate(0.8), metrics, PromoteSettings())
    assert decision.verdict == "reject"
    assert [g.name for g in decision.guards if not g.kept] == ["identity.without_overgeneral"]


def test_a_guard_that_nobody_measured_is_refused_with_the_ones_there_are():
    with pytest.raises(RecipeError, match=r"guards: 'skils' was not measured; did you mean 'skills'\?"):
        verdict(metrics={"skills": (1.0, 1.0)}, guards=["skils"])


def test_no_valid_comparison_promotes_nothing():
    decision = decide({"value": None, "low": None, "high": None, "n": 0}, {}, PromoteSettings(min_win_rate=0.0))
    assert decision.verdict == "reject"


def share(low, value, high):
    return {"value": value, "low": low, "high": high, "n": 40}


@pytest.mark.parametrize(
    ("after", "expected", "said"),
    [
        (share(0.31, 0.5, 0.7), "promote", "is above the upper end before"),
        (share(0.3, 0.5, 0.7), "reject", "is not above the upper end before"),
        (share(0.0, 0.05, 0.2), "reject", "is not above the upper end before"),
        (share(None, None, None), "reject", "nothing was asked on held-out phrasings"),
    ],
)
def test_without_a_judge_the_intervals_of_what_it_learned_decide(after, expected, said):
    decision = decide(None, {}, PromoteSettings(), (share(0.1, 0.2, 0.3), after))
    assert decision.verdict == expected
    assert said in decision.reasons[0]
    assert len(decision.reasons) == 1


def test_without_a_judge_what_was_not_measured_before_promotes_nothing():
    decision = decide(None, {}, PromoteSettings(), (share(None, None, None), share(0.9, 0.95, 1.0)))
    assert decision.verdict == "reject"
    assert decide(None, {}, PromoteSettings(), None).verdict == "reject"


def test_without_a_judge_a_guard_still_rejects():
    learned = (share(0.1, 0.2, 0.3), share(0.9, 0.95, 1.0))
    metrics = {"identity": (0.2, 0.95), "identity.without_leak": (1.0, 0.9)}
    decision = decide(None, metrics, PromoteSettings(), learned)
    assert decision.verdict == "reject"
    assert [g.name for g in decision.guards if not g.kept] == ["identity.without_leak"]


def test_with_a_judge_what_it_learned_decides_nothing():
    learned = (share(0.1, 0.2, 0.3), share(0.9, 0.95, 1.0))
    assert decide(rate(0.4), {}, PromoteSettings(), learned).verdict == "reject"
    assert decide(rate(0.6), {}, PromoteSettings(), learned[::-1]).verdict == "promote"


def test_every_rule_leaves_a_sentence_with_its_numbers():
    decision = decide(rate(0.55), {"skills": (0.8, 0.7)}, PromoteSettings())
    assert decision.reasons == [
        "the win rate 60.0% may be as low as 55.0% (95 % interval, n=100), which is above 50.0%",
        "skills went from 80.0% to 70.0%, a loss of more than 2 points",
    ]


@pytest.mark.parametrize(
    ("after", "said"), [(0.9, "no loss"), (0.8, "no loss"), (0.79, "a loss within 2 points"), (0.7, "more than 2 points")]
)
def test_a_gain_is_not_called_a_loss(after, said):
    assert decide(rate(0.6), {"skills": (0.8, after)}, PromoteSettings()).reasons[1].endswith(said)
