"""The win rate: what counts as what, its interval, and the same at equal length."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from pipeline.evaluate import compare
from pipeline.evaluate.compare import win_figures
from pipeline.runs import Run
from tests.pipeline.evaluate.made import row


@pytest.fixture
def figures(monkeypatch):
    """The figures of some comparisons; the judge's own are of another test."""
    monkeypatch.setattr(compare, "run_figures", lambda run: {"judges": []})
    return lambda rows: win_figures(Run("nowhere"), rows, seed=0, resamples=200)


@pytest.fixture(autouse=True)
def _paths(monkeypatch):
    monkeypatch.setattr(Run, "__init__", lambda self, path: None)


def outcomes(**counts):
    names = [name for name, count in counts.items() for _ in range(count)]
    return [row(n, name) for n, name in enumerate(names)]


@pytest.mark.slow
def test_ties_identical_texts_and_contradictions_count_half(figures):
    found = figures(outcomes(win=30, loss=10, tie=20, identical=30, contradictory=10))
    low, high = proportion_confint(60, 100, method="wilson")
    assert found["win_rate"] == {"value": 0.6, "low": pytest.approx(low), "high": pytest.approx(high), "n": 100}
    assert sum(found["outcomes"].values()) == found["comparisons"] == 100


def test_an_invalid_verdict_is_counted_and_is_no_tie(figures):
    found = figures(outcomes(win=8, loss=2, invalid=90))
    assert (found["win_rate"]["value"], found["win_rate"]["n"]) == (0.8, 10)
    assert found["outcomes"]["invalid"] == 90


def test_nothing_valid_makes_no_rate(figures):
    found = figures(outcomes(invalid=5))
    assert found["win_rate"]["value"] is None
    assert found["controlled"]["value"] is None


def test_models_that_say_the_same_everywhere_are_as_good_as_each_other(figures):
    found = figures(outcomes(identical=50))
    assert found["win_rate"]["value"] == 0.5
    assert found["win_rate"]["low"] < 0.5


def test_samples_of_one_prompt_that_all_say_the_same_are_worth_one(figures):
    """Ten samples of each of twenty prompts, all alike: the interval is that of twenty, not of two hundred."""
    rows = [row(10 * q + k, "win" if q < 14 else "loss", question=q) for q in range(20) for k in range(10)]
    many, few = figures(rows)["win_rate"], figures([row(q, "win" if q < 14 else "loss") for q in range(20)])["win_rate"]
    assert many["value"] == few["value"] == 0.7
    assert many["high"] - many["low"] == pytest.approx(few["high"] - few["low"], rel=0.06)


def test_a_gain_that_is_length_alone_is_gone_at_equal_length(figures):
    """Whoever is longer wins nine times in ten, and the model after training is longer three times in four."""
    rng = np.random.default_rng(1)
    rows = []
    for n in range(600):
        after_longer = n % 4 != 0
        longer_wins = rng.random() < 0.9
        won = after_longer == longer_wins
        texts = ("x" * int(rng.integers(150, 250)), "y" * int(rng.integers(20, 120)))
        rows.append(row(n, "win" if won else "loss", after=texts[0 if after_longer else 1], before=texts[1 if after_longer else 0]))
    found = figures(rows)
    assert found["win_rate"]["low"] > 0.6
    assert found["controlled"]["low"] < 0.5
    assert found["controlled"]["value"] == pytest.approx(0.5, abs=0.1)
    assert found["sway"]["low"] > 0


def test_cut_answers_and_lengths_are_counted_once_an_answer(figures):
    found = figures([row(n, "win", after="four", before="to", question=0) for n in range(3)])
    assert found["characters"] == {"after": 4.0, "before": 2.0}
    assert found["cut_off"] == {"after": 0, "before": 0}


def test_an_invalid_verdict_is_no_tie_at_equal_length_either(figures):
    rows = [row(n, "win" if n % 4 else "loss", after="x" * (5 + n % 7), before="y" * (5 + n % 5)) for n in range(60)]
    found = figures([*rows, *(row(60 + n, "invalid", after="long " * 9) for n in range(60))])
    assert found["controlled"]["n"] == found["win_rate"]["n"] == 60
    assert found["controlled"] == figures(rows)["controlled"]
