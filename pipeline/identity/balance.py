"""Length must not tell chosen from rejected: of several pairs for a question, the one that keeps the two sides even."""

from collections import Counter
from collections.abc import Sequence

Sides = tuple[str, str]
"""Chosen and rejected."""


class Balance:
    """Keeps count by kind of question, so that no kind is even only because another leans the other way."""

    def __init__(self) -> None:
        self._difference: Counter[str] = Counter()
        self._longer: Counter[str] = Counter()

    def order(self, kind: str, candidates: Sequence[Sides]) -> list[Sides]:
        """The candidates, the best for the balance first."""
        return sorted(candidates, key=lambda sides: self._cost(kind, sides))

    def take(self, kind: str, sides: Sides) -> None:
        """Count a pair that was taken."""
        difference = len(sides[0]) - len(sides[1])
        self._difference[kind] += difference
        self._longer[kind] += (difference > 0) - (difference < 0)

    def _cost(self, kind: str, sides: Sides) -> float:
        difference = len(sides[0]) - len(sides[1])
        sign = (difference > 0) - (difference < 0)
        return abs(self._difference[kind] + difference) + 4 * abs(self._longer[kind] + sign)


def lengths(pairs: Sequence[Sides]) -> dict[str, float | None]:
    """How even the sides are: the mean difference in characters, and how often chosen is the longer (equal counts half)."""
    if not pairs:
        return {"mean_difference": None, "chosen_longer": None}
    differences = [len(chosen) - len(rejected) for chosen, rejected in pairs]
    longer = sum(1.0 if d > 0 else 0.5 if d == 0 else 0.0 for d in differences)
    return {"mean_difference": sum(differences) / len(pairs), "chosen_longer": longer / len(pairs)}
