"""Bradley-Terry strengths with ties, against the maximum found by brute force and against choix."""

import choix
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from pipeline.passport.strengths import Meetings, fit, standings, strengths_of_few, without_limit


def meetings(models, *rows):
    """From (one, other, wins, losses, ties)."""
    one, other, *counts = np.array(rows).T
    return Meetings(models, one, other, np.stack(counts, axis=1).astype(float))


def log_likelihood(m, parameters):
    """Davidson's model written down as in his paper, in pi and nu."""
    pi, nu = np.exp(parameters[:-1]), np.exp(parameters[-1])
    a, b = pi[m.one_P], pi[m.other_P]
    weights = np.stack([a, b, nu * np.sqrt(a * b)], axis=1)
    return float((m.counts_P3 * np.log(weights / weights.sum(axis=1, keepdims=True))).sum())


counts = st.lists(st.integers(1, 30), min_size=3, max_size=3)


@settings(max_examples=25, deadline=None)
@given(counts, counts, counts)
def test_the_fit_is_the_maximum_of_davidson_s_likelihood(one, two, three):
    m = meetings(3, (0, 1, *one), (0, 2, *two), (1, 2, *three))
    found = fit(m, m.counts_P3[None], 0.0)[0]
    best = minimize(
        lambda x: -log_likelihood(m, x), np.zeros(4), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 9000}
    )
    assert log_likelihood(m, found) >= -best.fun - 1e-7
    assert found[:3].sum() == pytest.approx(0, abs=1e-9)
    assert found[:3] == pytest.approx(best.x[:3] - best.x[:3].mean(), abs=2e-3)


def test_two_models_have_a_closed_form():
    m = meetings(2, (0, 1, 40, 10, 20))
    x, y, log_t = fit(m, m.counts_P3[None], 0.0)[0]
    assert x - y == pytest.approx(np.log(40 / 10))
    assert np.exp(log_t) == pytest.approx(20 / np.sqrt(40 * 10))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=3, max_size=3))
def test_without_ties_it_is_the_plain_bradley_terry_of_choix(games):
    m = meetings(3, (0, 1, *games[0], 0), (0, 2, *games[1], 0), (1, 2, *games[2], 0))
    data = [
        pair for a, b, w, x, _ in zip(m.one_P, m.other_P, *m.counts_P3.T, strict=True) for pair in [(a, b)] * int(w) + [(b, a)] * int(x)
    ]
    assert fit(m, m.counts_P3[None], 0.0)[0][:3] == pytest.approx(choix.opt_pairwise(3, data, alpha=0), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=3, max_size=3))
def test_no_limit_is_found_exactly_where_the_likelihood_has_no_maximum(rows):
    m = meetings(3, (0, 1, *rows[0]), (0, 2, *rows[1]), (1, 2, *rows[2]))
    kept = m.counts_P3.sum(axis=1) > 0
    m = Meetings(3, m.one_P[kept], m.other_P[kept], m.counts_P3[kept])
    assume(m.counts_P3[:, :2].any() and len(m.one_P) > 1)
    # With a weaker and weaker prior an estimate that the outcomes limit stays where it is; another runs away.
    near, far = (fit(m, m.counts_P3[None], prior)[0][:3] for prior in (1e-3, 1e-7))
    assert bool(without_limit(m)) == bool(np.abs(far - near).max() > 0.5)


def test_a_model_that_never_lost_is_said_to_have_no_limit():
    m = meetings(3, (0, 1, 9, 0, 0), (0, 2, 8, 0, 0), (1, 2, 5, 4, 0))
    found = standings(m, ["best", "x", "y"], np.random.default_rng(0), 200)
    first = found["models"][0]
    assert first["model"] == "best"
    assert found["unlimited"] == ["best"]
    assert 0 < first["strength"].value < 8
    assert (first["strength"].low, first["strength"].high) == (None, None)
    assert first["win_rate"].low > 0.7


def test_only_ties_put_nobody_ahead():
    found = standings(meetings(2, (0, 1, 0, 0, 7)), ["x", "y"], np.random.default_rng(0), 50)
    assert [(r["win_rate"].value, r["strength"].value) for r in found["models"]] == [(0.5, None)] * 2


def test_models_that_nothing_joins_are_not_compared():
    m = meetings(4, (0, 1, 5, 4, 1), (2, 3, 6, 2, 2))
    assert without_limit(m) == [2, 3]


@pytest.mark.slow
def test_the_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(8)
    truth = np.array([0.7, 0.0, -0.7])
    held = 0
    for _ in range(60):
        rows = []
        for a, b in ((0, 1), (0, 2), (1, 2)):
            weights = np.array([np.exp(truth[a]), np.exp(truth[b]), 0.5 * np.exp((truth[a] + truth[b]) / 2)])
            rows.append((a, b, *rng.multinomial(60, weights / weights.sum())))
        found = standings(meetings(3, *rows), ["0", "1", "2"], rng, 300)
        held += sum(r["strength"].low <= truth[int(r["model"])] <= r["strength"].high for r in found["models"])
    assert 0.9 <= held / 180 <= 0.99


def test_win_rates_count_ties_half_and_sides_do_not_matter():
    sides = np.array([[0, 1], [1, 0], [0, 1], [1, 1], [0, -1]])
    m = Meetings.of(sides, np.array([0, 1, 2, 0, 0], np.int8), 2)
    assert m.counts_P3.tolist() == [[2, 0, 1]]
    assert standings(m, ["x", "y"], np.random.default_rng(0), 10)["models"][0]["win_rate"].value == pytest.approx(2.5 / 3)


def test_few_verdicts_on_one_prompt_make_finite_strengths():
    """Answer 0 beat 1 and 2, and 1 beat 2; 3 met nobody. A second verdict for 0 moves it further up."""
    sides, labels = np.array([[0, 1], [2, 0], [1, 2]]), np.array([0, 1, 0], np.int8)
    once = strengths_of_few(sides, labels, 4)
    assert once[0] > once[1] > once[2]
    assert once[0] == pytest.approx(-once[2])
    assert np.isnan(once[3])
    assert strengths_of_few(np.vstack([sides, [[0, 1]]]), np.append(labels, 0).astype(np.int8), 4)[0] > once[0]
    assert np.isnan(strengths_of_few(np.empty((0, 2), int), np.empty(0, np.int8), 2)).all()


def test_where_one_loss_decides_the_interval_is_open_above():
    """Of twenty meetings one was lost: a third of the resamples hold no loss, and those put no limit to the strength."""
    first, last = standings(meetings(2, (0, 1, 19, 1, 0)), ["x", "y"], np.random.default_rng(0), 400)["models"]
    assert first["strength"].value == pytest.approx(np.log(19) / 2)
    assert (first["strength"].high, last["strength"].low) == (None, None)
    assert 0.5 < first["strength"].low < first["strength"].value
