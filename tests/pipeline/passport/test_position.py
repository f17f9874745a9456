"""Flips, the place shown first, ties, invalid verdicts and repeated runs; and labels, which rest on the same cells."""

import pytest
from hypothesis import given

from pipeline.judge import resolve
from pipeline.passport.labels import cells, plurality
from pipeline.passport.position import positions, positions_of_shards
from pipeline.records import Verdict
from tests.pipeline.passport.made import labelled, labels, random_rows, rows, verdicts


def estimates(*given):
    v = verdicts(rows(*given))
    return positions(v, cells(v))[0].estimates()


def both(item, ab, ba):
    return (item, "j", ab, "AB"), (item, "j", ba, "BA")


def test_the_shares_by_hand():
    # Four items in both orders: steady, flipped to what is shown first, flipped to the last, a win and a tie; one half invalid.
    e = estimates(*both(1, "A", "A"), *both(2, "A", "B"), *both(3, "B", "A"), *both(4, "A", "tie"), *both(5, "B", "invalid"))
    assert {name: (e[name].value, e[name].n) for name in e} == {
        "invalid": (1 / 10, 10),
        "ties": (1 / 9, 9),
        "flip": (2 / 4, 4),
        "half_flip": (1 / 4, 4),
        "first_position": (4 / 7, 7),
        "repeat_disagreement": (None, 0),
    }


def test_a_judge_that_goes_by_position_alone_wins_first_always():
    e = estimates(*(row for item in range(40) for row in both(item, "A", "B")))
    assert (e["flip"].value, e["first_position"].value) == (1, 1)
    assert e["first_position"].low > 0.85


def test_one_order_says_nothing_of_position():
    e = estimates((1, "j", "A", "AB"), (2, "j", "A", "AB"))
    assert (e["flip"].value, e["first_position"].value) == (None, None)


def test_runs_that_differ_are_counted_by_pairs_of_runs():
    e = estimates(*((1, "j", c, "AB") for c in ("A", "A", "B")), *((2, "j", c, "AB") for c in ("tie", "tie", "invalid")))
    assert (e["repeat_disagreement"].value, e["repeat_disagreement"].n) == (2 / 4, 4)


@given(random_rows())
@pytest.mark.slow
def test_shards_add_up_to_the_whole(given):
    items = sorted({r.item for r in given})
    parts = [[r for r in given if (r.item in items[:2]) == first] for first in (True, False)]
    whole = verdicts(given)
    summed = positions_of_shards(verdicts(p) for p in parts if p)
    for judge, one in zip(whole.judges, positions(whole, cells(whole)), strict=True):
        assert (summed[judge].verdicts, summed[judge].items) == (one.verdicts, one.items)
        for a, b in zip(summed[judge].tallies, one.tallies, strict=True):
            assert a.sums == pytest.approx(b.sums)


@given(random_rows())
def test_a_label_is_what_the_house_resolves_to(given):
    """Where every order was judged once: a win, a tie for whatever is no agreement, and none where a verdict is invalid."""
    v = verdicts(given)
    for i, item in enumerate(v.items):
        for j, judge in enumerate(v.judges):
            here = [r for r in given if (r.item, r.judge) == (item, judge)]
            if here and len({r.order for r in here}) == len(here):
                made = [Verdict(item, "p", judge, r.order or "AB", r.choice, "llm") for r in here]
                result = resolve(made, accept_one_order=True).result
                wanted = {"A": 0, "B": 1, "invalid": -1}.get(result, 2)
                assert labelled(v)[i, j] == wanted


def test_repeated_runs_count_by_their_plurality():
    v = verdicts(
        rows(*((1, "j", c) for c in ("A", "A", "B")), *((2, "j", c) for c in ("A", "B")), *((3, "j", c) for c in ("B", "invalid")))
    )
    assert labelled(v)[:, 0].tolist() == [0, 2, 1]


def test_most_people_and_no_majority():
    assert plurality(labels("AABt-", "AtB--", "BBBA-")).tolist() == [0, -1, 1, -1, -1]
