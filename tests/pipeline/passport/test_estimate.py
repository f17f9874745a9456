"""Shares and their intervals, against statsmodels and against drawing again and again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from pipeline.passport.estimate import NOTHING, Estimate, Tally, between, plain, share, wilson


@given(st.integers(1, 5000), st.data())
def test_the_interval_of_a_share_is_that_of_statsmodels(n, data):
    hits = data.draw(st.integers(0, n))
    assert wilson(hits, n) == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-12)


def test_the_issue_s_own_example():
    e = share(61, 80)
    assert f"{e.low:.2f} to {e.high:.2f} at n={e.n}" == "0.66 to 0.84 at n=80"


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_rows_that_stand_alone_have_the_plain_interval(hits):
    tally = Tally.of(np.array(hits, float), np.ones(len(hits)))
    e, wanted = tally.estimate(), share(sum(hits), len(hits))
    assert (e.value, e.n) == (wanted.value, wanted.n)
    # The variance between clusters has n - 1 below the line, Wilson's n: the effective rows differ by one.
    n = len(hits) - 1 if 0 < sum(hits) < len(hits) else len(hits)
    assert (e.low, e.high) == pytest.approx(wilson(wanted.value * n, n))


def test_rows_that_go_together_count_as_one():
    alone = Tally.of(np.array([1.0, 0.0] * 50), np.ones(100)).estimate()
    doubled = Tally.of(np.array([2.0, 0.0] * 50), np.full(100, 2.0)).estimate()
    assert (doubled.value, doubled.low, doubled.high) == pytest.approx((alone.value, alone.low, alone.high))
    assert (alone.n, doubled.n) == (100, 200)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30), st.integers(0, 30))
def test_tallies_of_shards_add_up(clusters, cut):
    hits, rows = np.array([(min(h, n), n) for h, n in clusters], float).T
    parts = Tally.of(hits[:cut], rows[:cut]) + Tally.of(hits[cut:], rows[cut:])
    assert parts.sums == pytest.approx(Tally.of(hits, rows).sums)


def test_the_clustered_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        chance = rng.beta(2, 2, 80)  # the rows of a cluster share their chance; the mean is one half
        rows = rng.integers(1, 6, 80).astype(float)
        e = Tally.of(rng.binomial(rows.astype(int), chance).astype(float), rows).estimate()
        held += e.low <= 0.5 <= e.high
    assert 0.92 <= held / 400 <= 0.98


def test_no_rows_tell_nothing():
    assert share(0, 0) == Tally().estimate() == NOTHING
    assert between(None, np.array([1.0]), 4) == Estimate(None, None, None, 4)
    assert between(0.5, np.array([np.nan, np.nan, 0.5]), 4) == Estimate(0.5, None, None, 4)


def test_nothing_that_is_no_number_reaches_the_json():
    assert plain({"a": [np.float64("nan"), np.int64(3), float("inf")], "b": Estimate(float("-inf"), 0.0, None, 2)}) == {
        "a": [None, 3, None],
        "b": {"value": None, "low": 0.0, "high": None, "n": 2},
    }
