"""Several people, one decision: by more than half of them, or weighed by how reliable each is."""

import random
import sys
from itertools import product

import pytest

from pipeline.annotate.consensus import MIN_ITEMS, MIN_POSTERIOR, decide, majority, posteriors
from pipeline.errors import RecipeError
from tests.pipeline.annotate.crowd import LABELS, at_random, contrary, crowd, right


def said(*labels):
    return {f"p{n}": label for n, label in enumerate(labels)}


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_label_stands_when_more_than_half_chose_it_and_nothing_else_does(n):
    for labels in product(LABELS, repeat=n):
        winner = next((k for k in LABELS if labels.count(k) * 2 > n), "unresolved")
        assert majority(said(*labels)) == winner


@pytest.mark.parametrize(
    ("labels", "result"),
    [
        ("A B", "unresolved"),
        ("A tie", "unresolved"),
        ("A both_bad", "unresolved"),
        ("tie tie A", "tie"),
        ("both_bad both_bad A", "both_bad"),
        ("A A B tie", "unresolved"),
        ("A B tie", "unresolved"),
    ],
)
def test_ties_and_both_bad_win_by_majority_alone(labels, result):
    assert majority(said(*labels.split())) == result


def test_the_share_that_agrees_is_counted():
    found = decide({"x": said("A", "A", "B"), "y": said("A", "B")}, {})
    assert [(d.result, d.n, round(d.agreement, 3), d.by) for d in found.values()] == [
        ("A", 3, 0.667, "majority"), ("unresolved", 2, 0.5, "majority"),
    ]  # fmt: skip


def test_a_decision_needs_as_many_people_as_were_asked_for():
    labels = {"x": said("A"), "y": said("A", "A")}
    assert set(decide(labels, {}, min_people=2)) == {"y"}
    assert set(decide(labels, {}, min_people=1)) == {"x", "y"}


def test_the_adjudicator_decides_what_people_left_open_and_nothing_else():
    labels = {"x": said("A", "B"), "y": said("A", "A"), "z": said("A", "B")}
    found = decide(labels, {"x": {"judge": "B"}, "y": {"judge": "B"}, "z": {"judge": "A", "other": "B"}}, min_people=2)
    assert [(i, d.result, d.by, d.n) for i, d in found.items()] == [
        ("x", "B", "adjudication", 3), ("y", "A", "majority", 2), ("z", "unresolved", "adjudication", 4),
    ]  # fmt: skip


def scores(truth, found):
    """The shares that were decided rightly and wrongly."""
    results = {i: d.result for i, d in found.items()}
    good = sum(results[i] == t for i, t in truth.items()) / len(truth)
    return good, 1 - good - sum(r == "unresolved" for r in results.values()) / len(truth)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("people", "overlap", "wrong"),
    [
        ({"a": right(0.9), "b": right(0.8), "c": contrary}, 3, 0.05),
        ({"a": right(0.9), "b": right(0.85), "d": right(0.85), "e": contrary}, 2, 0.1),
        # Of three labels two are often by chance: what is not there cannot be found.
        ({"a": right(0.9), "b": right(0.85), "d": right(0.85), "e": at_random, "f": at_random}, 3, 0.15),
    ],
    ids=["one of three contrary", "one of four contrary, two each", "two of five at random"],
)
def test_dawid_skene_sees_through_people_who_are_wrong_and_majority_does_not(people, overlap, wrong):
    truth, labels = crowd(300, overlap, **people)
    by_number, weighed = (scores(truth, decide(labels, {}, method=m)) for m in ("majority", "dawid_skene"))
    assert weighed[0] > by_number[0] + 0.08
    assert weighed[1] < wrong


@pytest.mark.slow
def test_dawid_skene_is_as_good_as_the_majority_of_reliable_people():
    truth, labels = crowd(300, 3, a=right(0.85), b=right(0.85), c=right(0.85))
    by_number, weighed = (scores(truth, decide(labels, {}, method=m)) for m in ("majority", "dawid_skene"))
    assert weighed[0] > by_number[0] - 0.02
    assert weighed[1] < 0.04


@pytest.mark.slow
def test_the_error_rates_that_dawid_skene_finds_are_those_of_the_crowd():
    truth, labels = crowd(600, 4, a=right(0.95), b=right(0.8), c=right(0.6), d=right(0.8))
    found = posteriors(labels)
    for person, share in (("a", 0.95), ("b", 0.8), ("c", 0.6), ("d", 0.8)):
        expected = sum(found[i].get(one[person], 0.0) for i, one in labels.items()) / len(labels)
        assert expected == pytest.approx(share, abs=0.04)
    sure = [max(p.values()) for p in found.values()]
    hits = sum(max(p, key=p.get) == truth[i] for i, p in found.items())
    assert hits / len(truth) == pytest.approx(sum(sure) / len(sure), abs=0.03)  # it is as right as it says
    assert MIN_POSTERIOR == 0.7


@pytest.mark.slow
def test_the_order_of_people_and_comparisons_does_not_matter():
    _, labels = crowd(120, 3, a=right(0.9), b=right(0.7), c=right(0.7), d=at_random)
    draw, mixed = random.Random(5), list(labels.items())
    draw.shuffle(mixed)
    again = {i: dict(sorted(one.items(), key=lambda _: draw.random())) for i, one in mixed}
    one, other = (decide(given, {}, method="dawid_skene") for given in (labels, again))
    assert one == other
    assert list(one) == list(other)


@pytest.mark.parametrize(("n", "people"), [(MIN_ITEMS - 1, "abc"), (MIN_ITEMS + 50, "ab")])
def test_few_items_or_people_are_decided_by_number_and_say_so(n, people):
    _, labels = crowd(n, 2, **{p: right(0.8) for p in people})
    found = decide(labels, {}, method="dawid_skene")
    assert {d.by for d in found.values()} == {"majority"}
    assert found == decide(labels, {})


def test_without_crowd_kit_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "crowdkit.aggregation", None)
    _, labels = crowd(MIN_ITEMS, 3, a=right(0.9), b=right(0.8), c=right(0.8))
    with pytest.raises(RecipeError, match="install pairsmith\\[annotate\\], or set consensus: majority"):
        decide(labels, {}, method="dawid_skene")
    assert len(decide(labels, {})) == MIN_ITEMS
