"""Skills before and after: grading, Wilson's intervals and McNemar's test against second sources."""

import pytest
from statsmodels.stats.contingency_tables import mcnemar as theirs
from statsmodels.stats.proportion import proportion_confint

from pipeline.evaluate.skills import Graded, mcnemar, skill_figures
from tests.harness.shards import prompt


def tasks(*groups, category=None):
    """(before, after, how many) each."""
    made = [(before, after) for before, after, count in groups for _ in range(count)]
    return [Graded(prompt(f"{category} {n}", category=category), None, None, after, before) for n, (before, after) in enumerate(made)]


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 5), (1, 9), (20, 7), (0, 6), (100, 140)])
def test_mcnemars_p_is_that_of_statsmodels(gained, lost):
    expected = theirs([[30, lost], [gained, 10]], exact=True).pvalue
    assert mcnemar(gained, lost) == pytest.approx(expected if gained + lost else 1.0)


def test_the_shares_have_wilsons_intervals():
    found = skill_figures(tasks((True, True, 60), (True, False, 12), (False, True, 3), (False, False, 25)))
    for side, right in (("before", 72), ("after", 63)):
        low, high = proportion_confint(right, 100, method="wilson")
        assert found[side] == {"value": right / 100, "low": pytest.approx(low), "high": pytest.approx(high), "n": 100}
    assert (found["gained"], found["lost"], found["tasks"]) == (3, 12, 100)


def test_tasks_that_a_rule_cannot_grade_are_counted_and_left_out():
    found = skill_figures(tasks((True, True, 4), (None, True, 2), (False, None, 1), (None, None, 1)))
    assert (found["tasks"], found["ungraded"], found["before"]["n"]) == (4, 4, 4)


def test_a_loss_in_one_category_does_not_hide_in_the_whole():
    found = skill_figures(tasks((True, False, 8), category="maths") + tasks((False, True, 8), category="verse"))
    assert found["p"] == 1.0
    assert found["categories"]["maths"]["lost"] == 8
    assert found["categories"]["maths"]["p"] == pytest.approx(2 * 0.5**8)


def test_one_category_alone_is_the_whole_and_not_told_twice():
    assert skill_figures(tasks((True, True, 3), category="maths"))["categories"] == {}


def test_no_tasks_make_no_figures():
    found = skill_figures([])
    assert found["before"]["value"] is None
    assert found["p"] == 1.0
