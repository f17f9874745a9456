"""Agreement against closed forms, published examples, and the libraries where the resampling is ours."""

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score
from statsmodels.stats.inter_rater import fleiss_kappa

from pipeline.passport.agreement import _patterns as patterns_of
from pipeline.passport.agreement import accuracy, agreement, alphas, confusion, fleiss_kappas, kappa, macro_f1, together
from tests.pipeline.passport.made import labels, table

RNG = np.random.default_rng
SAID = st.text("ABt-", min_size=1, max_size=40)


def test_a_small_table_by_hand():
    found = agreement(table("AABBtAB-", "ABBBtttA"))
    # Seven items have both labels; A-A, B-B twice and t-t agree; by chance (3·1 + 3·3 + 1·3) / 49.
    assert found["raw"].value == pytest.approx(4 / 7)
    assert found["without_ties"].value == pytest.approx(3 / 4)
    assert found["kappa"].value == pytest.approx((4 / 7 - 15 / 49) / (1 - 15 / 49))
    assert found["confusion"]["A"] == {"A": 1, "B": 1, "tie": 1}
    assert {found[name].n for name in ("raw", "kappa")} == {7}


@given(SAID, st.data())
def test_kappa_is_that_of_scikit_learn_and_its_interval_holds_it(one, data):
    other = data.draw(st.text("ABt-", min_size=len(one), max_size=len(one)))
    both = [(a, b) for a, b in zip(one, other, strict=True) if "-" not in (a, b)]
    e = kappa(table(one, other))
    assert e.n == len(both)
    if len({x for pair in both for x in pair}) < 2:
        assert e.value is None
    else:
        assert e.value == pytest.approx(cohen_kappa_score(*zip(*both, strict=True)))
        assert e.low - 1e-9 <= e.value <= e.high + 1e-9


def test_the_interval_of_kappa_is_as_wide_as_the_field_computes_it():
    for n, half in ((50, 0.22), (100, 0.16), (200, 0.11), (400, 0.08)):  # at a kappa of 0.6 between two even choices
        e = kappa(np.array([[0.4 * n, 0.1 * n, 0], [0.1 * n, 0.4 * n, 0], [0, 0, 0]]))
        assert e.value == pytest.approx(0.6)
        assert (e.high - e.low) / 2 == pytest.approx(half, abs=0.01)


def test_few_agreements_are_no_certainty():
    e = kappa(table("ABAB", "ABAB"))
    assert (e.value, e.high) == (1.0, 1.0)
    assert e.low < 0.2
    both = together(labels("ABAB", "ABAB"), RNG(0), 100)
    assert both["alpha"].value == both["fleiss"].value == 1.0
    assert max(both["alpha"].low, both["fleiss"].low) < 0.2


@given(SAID, st.permutations([0, 1, 2]), st.data())
def test_agreement_does_not_know_the_names_of_the_choices(one, order, data):
    other = data.draw(st.text("ABt-", min_size=len(one), max_size=len(one)))
    both = labels(one, other)
    renamed = np.where(both < 0, both, np.array(order)[both]).astype(np.int8)
    before, after = confusion(both[:, 0], both[:, 1]), confusion(renamed[:, 0], renamed[:, 1])
    assert kappa(before) == kappa(after) or kappa(before).value == pytest.approx(kappa(after).value)
    assert agreement(before)["raw"] == agreement(after)["raw"] == agreement(before.T)["raw"]


def test_krippendorff_s_published_example_with_missing_data():
    # Krippendorff (2011), C: four observers, twelve units, five values; nominal alpha 0.743. The data hold more values than
    # a verdict has, so the counts go in directly.
    observers = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    rows = [line.split() for line in observers]
    counts = np.array([[sum(r[u] == v for r in rows) for v in "12345"] for u in range(12)], float)
    counts = counts[counts.sum(axis=1) >= 2]
    assert alphas(counts, np.ones((1, len(counts))))[0] == pytest.approx(0.743, abs=5e-4)


@given(st.lists(st.text("ABt-", min_size=3, max_size=3), min_size=2, max_size=25), st.lists(st.integers(0, 24), min_size=1, max_size=30))
def test_resampled_alpha_and_fleiss_are_those_of_the_libraries(items, drawn):
    said = labels(*zip(*items, strict=True))
    chosen = said[[d % len(said) for d in drawn]]
    patterns, of_items = patterns_of(chosen)
    if len(patterns) and np.count_nonzero(of_items @ patterns) > 1:
        counts = np.repeat(patterns, of_items.astype(int), axis=0)
        assert alphas(patterns, of_items[None])[0] == pytest.approx(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
        full = patterns.sum(axis=1) == 3
        if np.count_nonzero(of_items[full] @ patterns[full]) > 1:
            wanted = fleiss_kappa(np.repeat(patterns[full], of_items[full].astype(int), axis=0))
            assert fleiss_kappas(patterns[full], of_items[full][None])[0] == pytest.approx(wanted)


@given(SAID, st.data())
@pytest.mark.slow
def test_resampled_macro_f1_is_that_of_scikit_learn(right, data):
    said = data.draw(st.text("ABt", min_size=len(right), max_size=len(right)))
    both = [(a, b) for a, b in zip(right, said, strict=True) if a != "-"]
    if both:
        wanted = f1_score(*zip(*both, strict=True), average="macro", zero_division=0)
        assert macro_f1(table(right, said)[None])[0] == pytest.approx(wanted)
        assert accuracy(*labels(said, right).T, RNG(0), 20)["macro_f1"].value == pytest.approx(wanted)


def test_the_bootstrap_of_alpha_is_as_wide_as_drawing_items_again():
    rng = RNG(3)
    truth = rng.integers(0, 3, 150)
    said = np.stack([np.where(rng.random(150) < 0.7, truth, rng.integers(0, 3, 150)) for _ in range(3)], axis=1).astype(np.int8)
    e = together(said, RNG(0), 1000)["alpha"]
    draws = [together(said[rng.integers(0, 150, 150)], RNG(0), 1)["alpha"].value for _ in range(300)]
    assert (e.low, e.high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])), abs=0.03)


@pytest.mark.parametrize("said", [("tttt", "tttt"), ("A", "A"), ("----", "AAAA"), ("A-", "-A")])
def test_where_nothing_can_be_said_nothing_is(said):
    both = labels(*said)
    found = [kappa(confusion(*both.T)), together(both, RNG(0), 10)["alpha"], together(both, RNG(0), 10)["fleiss"]]
    assert [e.value for e in found] == [None] * 3
