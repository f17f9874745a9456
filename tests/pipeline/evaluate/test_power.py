"""How many prompts a difference takes: against figures of textbooks and against the normal distribution by simulation."""

import numpy as np
import pytest

from pipeline.evaluate.power import prompts_needed, smallest_rate


@pytest.mark.parametrize(
    ("rate", "needed"),
    # scipy's normal quantiles and the formula by hand; 783 is the figure of the plan.
    [(0.55, 783), (0.45, 783), (0.6, 194), (0.7, 47), (0.52, 4904)],
)
def test_as_many_prompts_as_the_closed_form_says(rate, needed):
    assert prompts_needed(rate) == needed


def test_another_share_to_beat_needs_another_number():
    # statsmodels' NormalIndPower has both variances equal; this formula is Fleiss's, so by hand for p0=0.9, p1=0.95:
    # (1.959964·0.3 + 0.841621·0.217945)² / 0.0025 = 238.03
    assert prompts_needed(0.95, against=0.9) == 239


@pytest.mark.parametrize("rate", [0.55, 0.6, 0.7])
def test_so_many_prompts_find_the_difference_four_times_in_five(rate):
    n = prompts_needed(rate)
    wins = np.random.default_rng(0).binomial(n, rate, 40_000)
    found = np.abs(wins / n - 0.5) > 1.959964 * 0.5 / np.sqrt(n)
    assert found.mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("n", [10, 40, 194, 783, 5000])
def test_the_smallest_rate_is_the_one_that_needs_so_many_prompts(n):
    rate = smallest_rate(n)
    assert prompts_needed(rate) <= n
    assert prompts_needed(rate - 1e-6) >= n


def test_so_few_prompts_that_nothing_can_be_told_have_no_smallest_rate():
    assert smallest_rate(3) is None
    assert smallest_rate(0) is None


@pytest.mark.parametrize(("rate", "against"), [(0.5, 0.5), (1.2, 0.5), (0.5, 0.0)])
def test_shares_that_make_no_question_are_refused(rate, against):
    with pytest.raises(ValueError, match="two different shares"):
        prompts_needed(rate, against)
