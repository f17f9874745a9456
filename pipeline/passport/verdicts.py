"""Verdicts of any origin as one set of columns, every item with its two sides the same way round."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.passport.estimate import Floats, Ints

CHOICES = {"A": 0, "B": 1, "tie": 2, "invalid": -1}

ORDERS = {"AB": 0, "BA": 1, None: 2}
"""Which side was shown first; 2 where nobody knows."""

COSTS = ("prompt_tokens", "completion_tokens", "dollars")

MOST_JUDGES = 1000

Side = tuple[str | None, str | None]
"""What a row says of its sides a and b; None where it says nothing."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One entry a verdict (V), an item (I) or a judge (J). Codes index the lists of names; -1 is unknown."""

    items: list[str]
    judges: list[str]
    models: list[str]
    groups: list[str]
    """The values of the column that `--by` names."""
    person_J: NDArray[np.bool_]
    item_V: Ints
    judge_V: Ints
    choice_V: Ints
    """As CHOICES has them."""
    order_V: Ints
    """As ORDERS has them."""
    costs_V3: Floats
    """As COSTS names them; nan where a row does not say."""
    model_I2: Ints
    """Who wrote sides a and b."""
    length_I2: Floats
    """Characters of sides a and b; nan where unknown."""
    group_I: Ints

    def only(self, item_kept_I: NDArray[np.bool_]) -> "Verdicts":
        """The verdicts on some of the items; names and codes stay."""
        kept = item_kept_I[self.item_V]
        columns = {f: getattr(self, f)[kept] for f in ("item_V", "judge_V", "choice_V", "order_V", "costs_V3")}
        rest = {f: getattr(self, f) for f in self.__slots__ if f not in columns}
        return Verdicts(**rest, **columns)


@dataclass(frozen=True, slots=True)
class Row:
    """One verdict as it comes in. `answers` are ids or texts of the two sides, `models` who wrote them."""

    place: str
    item: str
    judge: str
    person: bool
    choice: str
    order: str | None = None
    answers: Side = (None, None)
    models: Side = (None, None)
    lengths: tuple[float, float] = (np.nan, np.nan)
    group: str | None = None
    costs: tuple[float, float, float] = (np.nan, np.nan, np.nan)


@dataclass(slots=True)
class _Item:
    place: str
    answers: Side
    models: Side
    lengths: tuple[float, float]
    group: str | None


def _codes() -> dict[str, int]:
    return {}


@dataclass(slots=True)
class Collector:
    """Takes rows from any number of tables; the first row on an item decides which of its sides is a."""

    items: dict[str, int] = field(default_factory=_codes)
    judges: dict[str, int] = field(default_factory=_codes)
    persons: list[bool] = field(default_factory=list)
    left_out: int = 0
    """Rows of people that hold no label."""
    _known: list[_Item] = field(default_factory=list)
    _rows: list[tuple[int, int, int, int]] = field(default_factory=list)
    _costs: list[tuple[float, float, float]] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Raises InputError where an item's answers are others than in an earlier row, or a judge is a person and a model."""
        swapped = False
        number = self.items.setdefault(row.item, len(self.items))
        if number == len(self._known):
            self._known.append(_Item(row.place, row.answers, row.models, row.lengths, row.group))
        else:
            swapped = self._compare(self._known[number], row)
        judge = self.judges.setdefault(row.judge, len(self.judges))
        if judge == len(self.persons):
            self.persons.append(row.person)
            if judge >= MOST_JUDGES:
                raise InputError(f"{row.place}: found more than {MOST_JUDGES} judges; is `judge` ({row.judge!r}) the right column?")
        elif self.persons[judge] != row.person:
            raise InputError(f"{row.place}: the judge '{row.judge}' is a person in one row and a model in another; give them two names")
        choice, order = CHOICES[row.choice], ORDERS[row.order]
        if swapped:
            choice = 1 - choice if choice in (0, 1) else choice
            order = 1 - order if order != 2 else 2
        self._rows.append((number, judge, choice, order))
        self._costs.append(row.costs)

    def _compare(self, known: _Item, row: Row) -> bool:
        """Whether the row has the item's sides the other way round; what it knows beyond the earlier rows is kept."""
        swapped = _turned(known.models, row.models)
        if swapped is None or not swapped:
            by_answers = _turned(known.answers, row.answers)
            swapped = by_answers if by_answers is not None else swapped
        if swapped is None and any(
            _both(said) and _both(here) for said, here in ((known.models, row.models), (known.answers, row.answers))
        ):
            raise InputError(
                f"{row.place}: item '{_short(row.item)}' is about other answers than at {known.place} ({_said(row)} here, {_said(known)} "
                "there); an item's id must mean the same two answers in every table"
            )
        known.models = known.models if _both(known.models) else _as(row.models, swapped)
        known.answers = known.answers if _both(known.answers) else _as(row.answers, swapped)
        if np.isnan(known.lengths).any():
            known.lengths = row.lengths[::-1] if swapped else row.lengths
        known.group = row.group if known.group is None else known.group
        return bool(swapped)

    def verdicts(self) -> Verdicts:
        """Raises InputError where no row came."""
        if not self._rows:
            raise InputError("the tables hold no verdict; wanted at least one row with an item, a judge and a choice")
        rows = np.array(self._rows, np.int64)
        models, model_I2 = _coded([name for item in self._known for name in item.models])
        groups, group_I = _coded([item.group for item in self._known])
        return Verdicts(
            items=list(self.items),
            judges=list(self.judges),
            models=models,
            groups=groups,
            person_J=np.array(self.persons, bool),
            item_V=rows[:, 0],
            judge_V=rows[:, 1],
            choice_V=rows[:, 2],
            order_V=rows[:, 3],
            costs_V3=np.array(self._costs, np.float64),
            model_I2=model_I2.reshape(-1, 2),
            length_I2=np.array([item.lengths for item in self._known], np.float64),
            group_I=group_I,
        )


def key_of(*parts: Any) -> str:
    """A short name of long texts: tables may name an item or an answer by its whole text."""
    text = "\0".join(str(p) for p in parts)
    return text if len(text) <= 64 and "\0" not in text else blake2b(text.encode(), digest_size=12).hexdigest()


def _coded(names: Sequence[str | None]) -> tuple[list[str], Ints]:
    known = sorted({n for n in names if n is not None})
    codes = {name: number for number, name in enumerate(known)}
    return known, np.array([-1 if n is None else codes[n] for n in names], np.int64)


def _turned(one: Side, other: Side) -> bool | None:
    """Whether two rows name the same sides the other way round; None where they do not say, or name others."""
    if not (_both(one) and _both(other)):
        return None
    return False if one == other else True if one == other[::-1] else None


def _both(side: Side) -> bool:
    return side[0] is not None and side[1] is not None


def _as(side: Side, swapped: bool | None) -> Side:
    return (side[1], side[0]) if swapped else side


def _said(row: Row | _Item) -> str:
    a, b = row.models if _both(row.models) else row.answers
    return f"{_short(a)} and {_short(b)}"


def _short(text: str | None) -> str:
    return "nothing" if text is None else text if len(text) <= 40 else f"{text[:40]}…"
