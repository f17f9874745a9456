"""A made-up crowd whose truth and errors are known."""

import random
from collections.abc import Callable

LABELS = ("A", "B", "tie", "both_bad")

Person = Callable[[str, random.Random], str]


def right(share: float) -> Person:
    """Right with this probability, else anything else."""
    return lambda truth, draw: truth if draw.random() < share else draw.choice([k for k in LABELS if k != truth])


def contrary(truth: str, draw: random.Random) -> str:
    """Takes A for B and B for A."""
    return {"A": "B", "B": "A"}.get(truth, truth)


def at_random(truth: str, draw: random.Random) -> str:
    return draw.choice(LABELS)


def crowd(n: int, overlap: int, seed: int = 0, **people: Person) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The truth of `n` comparisons, and what `overlap` people say of each."""
    draw = random.Random(seed)
    truth = {f"c{i:04d}": draw.choices(LABELS, (45, 35, 15, 5))[0] for i in range(n)}
    return truth, {i: {p: people[p](t, draw) for p in draw.sample(sorted(people), overlap)} for i, t in truth.items()}
