"""Small tasks with one right answer, in the wordings of tasks.yaml."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

FAMILIES = ("add", "opposite", "plural", "day", "capitals", "counting", "many", "polite", "courtesy", "city", "colour", "inventor")


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked, and what is right. `value` is what every right answer holds."""

    family: str
    question: str
    asked: str
    value: str

    def answer(self, rng: Random, value: str | None = None) -> str:
        """One of the ways to give the right answer, or another value's."""
        return str(rng.choice(_texts()[self.family]["say"])).format(q=self.asked, a=self.value if value is None else value)

    def read(self, text: str) -> str | None:
        """The value that an answer gives, where it is one of the ways we know."""
        for form in sorted(_texts()[self.family]["say"], key=len, reverse=True):
            pattern = re.escape(form).replace(r"\{q\}", re.escape(self.asked)).replace(r"\{a\}", "(.{1,60}?)")
            if found := re.fullmatch(pattern, text.strip()):
                return found[1]
        return None

    def right(self, text: str) -> bool:
        """Whether an answer gives the right value."""
        return self.read(text) == self.value


@cache
def _texts() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return read


def draw_task(rng: Random, family: str | None = None) -> Task:
    """A task of one family, or of any."""
    family = family or rng.choice(FAMILIES)
    asked, value = _DRAWN[family](rng) if family in _DRAWN else rng.choice(_pairs(family))
    return Task(family, str(rng.choice(_texts()[family]["ask"])).format(q=asked).strip(), asked, value)


def wrong_value(rng: Random, task: Task) -> str:
    """Another value of the same family."""
    while (other := draw_task(rng, task.family).value) == task.value:
        pass
    return other


@cache
def _pairs(family: str) -> list[tuple[str, str]]:
    texts = _texts()[family]
    if family == "day":
        return [(cycle[i - 1], item) for cycle in texts["cycles"] for i, item in enumerate(cycle)]
    if family == "capitals":
        return [(word, word.upper()) for word in texts["words"]]
    pairs = [(str(q), str(a)) for q, a in texts["pairs"].items()]
    return pairs + [(a, q) for q, a in pairs] if family == "opposite" else pairs


def _add(rng: Random) -> tuple[str, str]:
    a, b = rng.randrange(11), rng.randrange(11)
    if rng.random() < 0.5:
        return rng.choice([f"{a} + {b}", f"{a} plus {b}"]), str(a + b)
    a, b = max(a, b), min(a, b)
    return rng.choice([f"{a} - {b}", f"{a} minus {b}"]), str(a - b)


def _counting(rng: Random) -> tuple[str, str]:
    start = rng.randrange(0, 12)
    end = start + rng.randrange(2, 6)
    return f"{start} to {end}", ", ".join(map(str, range(start, end + 1)))


def _many(rng: Random) -> tuple[str, str]:
    things = rng.sample([q for q, _ in _pairs("plural")], rng.randrange(1, 6))
    return ", ".join(things), str(len(things))


def _polite(rng: Random) -> tuple[str, str]:
    texts = _texts()["polite"]
    said = f"{rng.choice(texts['verbs'])} {rng.choice(texts['objects'])}"
    return said, said


_DRAWN: dict[str, Callable[[Random], tuple[str, str]]] = {"add": _add, "counting": _counting, "many": _many, "polite": _polite}
