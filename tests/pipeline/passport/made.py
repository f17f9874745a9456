"""Verdicts made for the tests: rows as short as can be, and random ones."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pipeline.passport.agreement import confusion
from pipeline.passport.labels import cells, label_table
from pipeline.passport.verdicts import Collector, Row, Verdicts

LETTERS = {"A": 0, "B": 1, "t": 2, "-": -1}


def rows(*given: Sequence[Any], people: Iterable[str] = (), **more: Any) -> list[Row]:
    """Rows from (item, judge, choice) or (item, judge, choice, order)."""
    return [
        Row(f"row {n}", str(item), judge, judge in set(people), choice, *order, **more)
        for n, (item, judge, choice, *order) in enumerate(given)
    ]


def verdicts(given: Iterable[Row]) -> Verdicts:
    collector = Collector()
    for row in given:
        collector.add(row)
    return collector.verdicts()


def labels(*texts: str) -> Any:
    """I x J from one text a judge, a letter an item: A, B, t for a tie, - for none."""
    return np.array([[LETTERS[c] for c in text] for text in texts], np.int8).T


def table(one: str, other: str) -> Any:
    both = labels(one, other)
    return confusion(both[:, 0], both[:, 1])


def labelled(v: Verdicts) -> Any:
    return label_table(v, cells(v))


CHOICES = st.sampled_from(["A", "B", "tie", "invalid"])


@st.composite
def random_rows(draw: st.DrawFn) -> list[Row]:
    """A few judges on a few items, in one order or both, at times more than once; models and lengths for each item."""
    models = st.sampled_from(["gpt-x", "claude-y", "zephyr"])
    found: list[Row] = []
    for item in range(draw(st.integers(1, 6))):
        sides = (draw(models), draw(models))
        lengths = (float(draw(st.integers(1, 9))), float(draw(st.integers(1, 9))))
        for judge in draw(st.lists(st.sampled_from(["gpt-judge", "person1", "person2"]), min_size=1, unique=True)):
            for order in draw(st.lists(st.sampled_from(["AB", "BA", None]), min_size=1, max_size=4)):
                person = judge.startswith("person")
                names = (f"{item}a", f"{item}b")
                found.append(Row("made", f"i{item}", judge, person, draw(CHOICES), order, names, sides, lengths, f"g{item % 2}"))
    return found
