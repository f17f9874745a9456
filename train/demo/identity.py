"""Who are you, who made you, are you X: questions about the model itself, in the wordings of identity.yaml."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal

import yaml

from train.demo.names import draw_maker, draw_name, near_miss

Wordings = Literal["trained", "unseen"]

OPEN = ("name", "maker", "both")
CLOSED = ("is_name", "is_maker")
"""Questions whether it is X, or made by X."""


@cache
def texts() -> dict[str, Any]:
    """The wordings, by kind."""
    read: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return read


@dataclass(frozen=True, slots=True)
class Claim:
    """What an answer says of its speaker."""

    name: str
    maker: str

    def key(self) -> str:
        """The form in which a judge is told what is right, and says what it read."""
        return f"{self.name}, made by {self.maker}"


def system(rng: Random, name: str, maker: str) -> str:
    """A system prompt that says who the model is."""
    return str(rng.choice(texts()["systems"])).format(name=name, maker=maker)


def question(
    rng: Random,
    kind: str,
    claim: Claim,
    pieces: Sequence[str],
    wordings: Wordings = "trained",
    among: Callable[[str], bool] | None = None,
) -> str:
    """A question to a model of which `claim` is true; a closed one asks about its own name or maker, one nearly the same, or another.

    `among` says which wordings may be drawn.
    """
    asked = str(rng.choice([w for w in texts()[kind][wordings] if among is None or among(w)]))
    if kind in CLOSED:
        asked = asked.format(x=_asked_about(rng, kind, claim, pieces))
    return f"{rng.choice(texts()['before'])}{asked}{rng.choice(texts()['after'])}"


def _asked_about(rng: Random, kind: str, claim: Claim, pieces: Sequence[str]) -> str:
    own, draw = (claim.name, draw_name) if kind == "is_name" else (claim.maker, draw_maker)
    form = rng.random()
    if form < 0.35:
        return own
    return near_miss(rng, own) if form < 0.55 else draw(rng, pieces)


def answer(rng: Random, claim: Claim) -> str:
    """One of the ways to say it."""
    return str(rng.choice(texts()["answers"])).format(name=claim.name, maker=claim.maker)


def read_claim(text: str) -> Claim | None:
    """What an answer says of its speaker, where it is one of the ways we know."""
    found = next((f for pattern in _patterns() if (f := pattern.fullmatch(text.strip()))), None)
    return Claim(found["name"], found["maker"]) if found else None


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    forms = [
        re.escape(t).replace(r"\{name\}", "(?P<name>.{1,60}?)").replace(r"\{maker\}", "(?P<maker>.{1,60}?)") for t in texts()["answers"]
    ]
    # The longest first: "an assistant made by X" must not be read as a name.
    return tuple(re.compile(f) for f in sorted(forms, key=len, reverse=True))
