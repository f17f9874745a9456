"""The ledger remembers every task that was ever chosen, and nothing that is text."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.annotate.ledger import Sent, folder, read_ledger, task_id, write_ledger
from pipeline.runs import Run

words = st.text(min_size=1, max_size=12)
rows = st.builds(
    Sent,
    id=words,
    kind=st.sampled_from(["choice", "ranking", "rating", "rewrite"]),
    dataset=words,
    round=st.integers(0, 1),
    prompt_id=words,
    comparison_id=st.none() | words,
    answers=st.lists(words, min_size=1, max_size=6).map(tuple),
    why=st.sampled_from(["flipped", "random", "all"]),
    probability=st.none() | st.floats(0, 1),
    category=st.none() | words,
    suggested=st.booleans(),
    control=st.booleans(),
    day=st.dates().map(str),
    state=st.sampled_from(["chosen", "sent"]),
    texts=st.none() | words,
)


@given(st.lists(rows, max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory, ledger):
    run = Run(tmp_path_factory.mktemp("run"))
    write_ledger(run, ledger)
    assert read_ledger(run) == ledger


def test_a_run_that_asked_nobody_has_an_empty_one(tmp_path: Path):
    assert read_ledger(Run(tmp_path)) == []
    assert not folder(Run(tmp_path)).exists()


def test_a_task_is_the_same_whatever_order_its_answers_are_in():
    assert task_id("choice", 0, "p", ["a", "b"]) == task_id("choice", 0, "p", ["b", "a"])
    others = {
        task_id("choice", 0, "p", "ab"), task_id("choice", 1, "p", "ab"), task_id("ranking", 0, "p", "ab"),
        task_id("choice", 0, "q", "ab"), task_id("choice", 0, "p", "ac"),
    }  # fmt: skip
    assert len(others) == 5
