"""Each gate lets pass what it should and names what it stops; the first that objects gives the reason."""

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.gate import gate, standing_gates
from pipeline.plugins import load_plugin


def table(*pairs, finish=("stop", "stop")):
    columns = {"chosen": [p[0] for p in pairs], "rejected": [p[1] for p in pairs]}
    columns |= {"finish_chosen": [finish[0]] * len(pairs), "finish_rejected": [finish[1]] * len(pairs)}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def reasons(name, pairs, **fields):
    module = load_plugin("gates", name)
    return pa.chunked_array([*_chunks(module.check(pairs, module.Settings(**fields)))]).to_pylist()


def _chunks(found):
    return found.chunks if isinstance(found, pa.ChunkedArray) else [found]


LONG = "Canberra is the capital of Australia, and has been since 1913."


@pytest.mark.parametrize(
    ("name", "pair", "reason"),
    [
        ("identical", ("a b", "a b"), "identical"),
        ("identical", (" a\n\tb ", "a b"), "identical"),
        ("identical", ("a b", "ab"), None),
        ("identical", ("", ""), "identical"),
        ("similar", (LONG, LONG.replace("1913", "1914")), "similar"),
        ("similar", ("56", "58"), None),
        ("similar", (LONG, "Sydney is a city."), None),
        ("similar", (LONG, LONG), "similar"),
        ("empty", ("", "a"), "empty_chosen"),
        ("empty", ("a", " \n"), "empty_rejected"),
        ("empty", ("a", "b"), None),
        ("length", ("a", "b"), None),
        ("length", ("a", "b" * 101), "too_long"),
        ("length", ("a" * 101, "b"), "too_long"),
        ("length", ("", "b"), "too_short"),
        ("length", ("ä" * 100, "b" * 26), None),
        ("length", ("ä" * 100, "b" * 24), "lopsided"),
    ],
)
def test_a_gate_names_what_it_stops(name, pair, reason):
    fields = {"max_chars": 100, "max_times": 4} if name == "length" and "a" * 2 not in pair else {}
    if name == "length" and min(map(len, pair)) == 1:
        fields = {"max_chars": 100}
    assert reasons(name, table(pair), **fields) == [reason]


@pytest.mark.parametrize(
    ("finish", "fields", "reason"),
    [
        (("length", "stop"), {}, "truncated_chosen"),
        (("stop", "length"), {}, "truncated_rejected"),
        (("stop", "length"), {"rejected": False}, None),
        (("length", "length"), {"rejected": False}, "truncated_chosen"),
        (("stop", "stop"), {}, None),
    ],
)
def test_an_answer_that_was_cut_off_never_pairs_unless_it_is_rejected_and_the_recipe_says_so(finish, fields, reason):
    assert reasons("truncated", table(("a", "b"), finish=finish), **fields) == [reason]


WORDS = st.text(st.sampled_from("ab \n\t"), max_size=6)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=8))
def test_identical_means_equal_when_white_space_is_folded(pairs):
    expected = ["identical" if re.sub(r"\s+", " ", c.strip()) == re.sub(r"\s+", " ", r.strip()) else None for c, r in pairs]
    assert reasons("identical", table(*pairs)) == expected


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), max_size=8))
def test_kept_and_dropped_together_are_all_pairs(pairs):
    kept, dropped, why = gate(table(*pairs), standing_gates({"length": {"max_chars": 4}}))
    assert len(kept) + len(dropped) == len(pairs)
    assert len(dropped) == len(why)
    assert sorted(kept["chosen"].to_pylist() + dropped["chosen"].to_pylist()) == sorted(c for c, _ in pairs)


def test_the_gates_that_stand_by_default_come_first_and_can_be_switched_off():
    assert list(standing_gates({})) == ["empty", "identical", "similar", "truncated"]
    assert list(standing_gates({"length": {}, "similar": False})) == ["empty", "identical", "truncated", "length"]


def test_the_most_lopsided_of_too_many_longer_ones_leave() -> None:
    pairs = table(("a" * 9, "b"), ("a" * 4, "bbb"), ("a" * 8, "bb"), ("a", "bb"), ("aa", "bbb"), ("a", "b"))
    assert reasons("longer", pairs, max_share=0.5) == ["longer", None, None, None, None, None]
    assert reasons("longer", pairs, max_share=0.34) == ["longer", None, "longer", None, None, None]
    assert reasons("longer", pairs, max_share=0) == ["longer"] * 3 + [None] * 3


@given(st.lists(st.tuples(st.text("x", max_size=9), st.text("y", max_size=9)), max_size=30), st.floats(0, 0.99))
def test_no_more_longer_ones_than_wanted_stay_and_no_other_leaves(pairs, share):
    found = reasons("longer", table(*pairs), max_share=share)
    assert all(len(c) > len(r) for (c, r), reason in zip(pairs, found, strict=True) if reason)
    kept = [len(c) > len(r) for (c, r), reason in zip(pairs, found, strict=True) if not reason and len(c) != len(r)]
    assert sum(kept) <= share * len(kept) + 1e-6
    spare = sum(len(c) > len(r) for c, r in pairs) - sum(kept)
    assert not spare or sum(kept) + 1 > share * (len(kept) + 1) - 1e-6


def test_a_gate_sees_what_the_gates_before_let_pass() -> None:
    pairs = table(("a" * 9, ""), ("a" * 5, "b"), ("a", "bb"))
    kept, stopped, why = gate(pairs, standing_gates({"longer": {"max_share": 0.5}}))
    assert why == ["empty_rejected"]
    assert (len(kept), len(stopped)) == (2, 1)
