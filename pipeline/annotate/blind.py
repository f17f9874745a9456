"""Which answer stands where: nobody who labels can tell from a place who wrote what stands there.

The order is drawn from the task itself and the recipe's seed, so the same task is shown in the same order in every push. It
stands in the ledger, which undoes it (see labels.py).
"""

from collections.abc import Sequence
from random import Random

from pipeline.annotation import Value
from pipeline.records import content_id


def shown_order(seed: int, task: str, answers: Sequence[str]) -> tuple[str, ...]:
    """The answers' ids in the order in which they are shown, every order as likely as every other."""
    order = sorted(answers)  # the order in which they are stored would tell the strong one
    Random(content_id(seed, "shown", task)).shuffle(order)  # noqa: S311 - an order, not a secret
    return tuple(order)


def is_drawn(seed: int, purpose: str, unit: str, share: float) -> bool:
    """Whether a unit belongs to a share that is drawn by chance, the same in every push."""
    return draw_of(seed, purpose, unit) < share


def draw_of(seed: int, purpose: str, unit: str) -> float:
    """A number from 0 to below 1 by chance, the same in every push; for each purpose another one."""
    return int(content_id(seed, purpose, unit)[:12], 16) / 16**12


def as_shown(value: Value, stored: Sequence[str], shown: Sequence[str]) -> Value:
    """Labels that number the stored answers from 1, as labels that number the shown ones; others, such as `tie`, stay."""
    if isinstance(value, int):
        return value
    numbers = {str(n): str(shown.index(answer) + 1) for n, answer in enumerate(stored, 1)}
    if isinstance(value, str):
        return numbers.get(value, value)
    return tuple("=".join(numbers[label] for label in rank.split("=")) for rank in value)
