"""Questions: phrasings with slots, the side that each is on for ever, and the distinct questions that are drawn from them.

A side is a hash of the phrasing's words, so no seed, language or later version moves a phrasing from evaluation to training.
Draws walk through all values of the slots and all greetings in steps that meet every combination once: nothing is kept in
memory, and the k-th question of a phrasing is the same for every number of pairs.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import gcd, prod
from typing import Literal

from pipeline.identity.check import Expected
from pipeline.identity.facts import Facts
from pipeline.identity.names import same
from pipeline.identity.words import Group, Turns, families, language, others
from pipeline.records import Message, content_id, prompt_cluster, prompt_id

Side = Literal["train", "dev", "test"]

Kind = Literal["identity", "attack", "overgeneral", "skill", "leak"]
"""What a question measures: who the model is, the same under attack, what it credits to its maker, what it still can, and
whether it speaks of itself unasked."""

TEST, DEV = 0.25, 0.12
"""Shares of the phrasings, by their hash."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question as it is asked. `values` are those of its slots, the name and the maker included."""

    messages: tuple[Message, ...]
    language: str
    family: str
    kind: Kind
    side: Side
    phrasing: str
    values: Mapping[str, str]
    answers: tuple[str, ...]
    """Templates of right answers."""
    expected: Expected | None = None
    """What an answer about the model must say."""
    holds: tuple[str, ...] = ()
    """What an answer to another question must hold."""
    in_full: bool = False
    """Whether a chosen answer says the name and the maker, whichever of them was asked for."""

    @property
    def required(self) -> Expected | None:
        """What a chosen answer must say: what was asked for, or more where it answers in full."""
        return replace(self.expected, asks="both") if self.expected and self.in_full else self.expected

    @property
    def id(self) -> str:
        return prompt_id(self.messages)

    @property
    def text(self) -> str:
        """What the user said, in all turns."""
        return "\n".join(m["content"] for m in self.messages if m["role"] == "user")


@dataclass(frozen=True, slots=True)
class Phrasing:
    """A question with slots, and the values that they may have."""

    id: str
    turns: tuple[str, ...]
    language: str
    family: str
    kind: Kind
    side: Side
    slots: Mapping[str, tuple[str, ...]]
    wraps: tuple[tuple[str, str], ...]
    fixed: Mapping[str, str]
    answers: tuple[str, ...]
    expected: Expected | None = None
    holds: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many questions it makes."""
        return prod(len(v) for v in self.slots.values()) * len(self.wraps)

    def question(self, k: int, seed: int) -> Question:
        """The k-th question, below `size`; the first has no greeting."""
        at = _step(self.size, k, int(content_id(self.id, seed), 16))
        values = dict(self.fixed)
        for slot, given in self.slots.items():
            at, index = divmod(at, len(given))
            values[slot] = given[index]
        start = _step(self.size, 0, int(content_id(self.id, seed), 16)) // (self.size // len(self.wraps))
        before, after = self.wraps[(at - start) % len(self.wraps)]
        turns = [fill(t, values) for t in self.turns]
        turns[-1] = f"{before}{turns[-1]}{after}"
        return Question(
            tuple(Message(role="assistant" if n % 2 else "user", content=t) for n, t in enumerate(turns)),
            self.language,
            self.family,
            self.kind,
            self.side,
            self.id,
            values,
            self.answers,
            self.expected,
            tuple(fill(h, values) for h in self.holds),
        )


def in_full(question: Question) -> Question:
    """The question, to be answered with both name and maker; as it is, where its answer has a form that holds but one of them."""
    expected = question.expected
    if expected is None or expected.asks not in ("name", "maker"):
        return question
    ours = language(expected.language).answers
    either = ours.name if expected.asks == "name" else ours.maker
    whole = ours.both if question.answers == tuple(either) else question.answers
    answers = tuple(a for a in whole if "{name}" in a and "{maker}" in a)
    return replace(question, in_full=True, answers=answers) if answers else question


def fill(template: str, values: Mapping[str, str]) -> str:
    """Values for the slots of a template. A value is text: braces in it mean nothing."""
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), template)


def of_anybody(template: str) -> str:
    """The words of a template, whatever its slots are: "Are you {name}?" and "Are you {product}?" are one phrasing."""
    return re.sub(r"\{\w+\}", "someone", template)


def wording(turns: Sequence[str]) -> str:
    """A hash that phrasings share which differ in their slots, in case or in punctuation alone."""
    return prompt_cluster([Message(role="user", content=of_anybody(t)) for t in turns])


def side_of(turns: Sequence[str]) -> Side:
    """The side of a phrasing, by its words alone."""
    at = int(wording(turns)[:12], 16) / 16**12
    return "test" if at < TEST else "dev" if at < TEST + DEV else "train"


def phrasings(code: str, facts: Facts) -> list[Phrasing]:
    """All questions about the model in a language. Those of held-out families are on the side `test`."""
    found = language(code).families
    return [_phrasing(code, name, group, turns, facts) for name, groups in found.items() for group in groups for turns in group.questions]


def _phrasing(code: str, name: str, group: Group, given: Turns, facts: Facts) -> Phrasing:
    family, turns = families()[name], (given,) if isinstance(given, str) else tuple(given)
    return Phrasing(
        content_id(code, name, turns),
        turns,
        code,
        name,
        "attack" if family.attack else "identity",
        "test" if family.heldout else side_of(turns),
        slots_of(code, turns, facts),
        wraps_of(code) if family.wraps else (("", ""),),
        {"name": facts.name, "maker": facts.maker},
        _templates(code, group, facts),
        Expected(group.asks, group.answer_in or code, group.fact),
    )


def _templates(code: str, group: Group, facts: Facts) -> tuple[str, ...]:
    if group.answers:
        return tuple(group.answers)
    ours = language(group.answer_in or code).answers
    if group.fact is None:
        return tuple(getattr(ours, group.asks))
    known = facts.more.get(group.fact)
    return tuple(ours.unknown) if known is None else tuple(t.replace("{fact}", "{" + group.fact + "}") for t in ours.facts[group.fact])


def slots_of(code: str, turns: Sequence[str], facts: Facts) -> dict[str, tuple[str, ...]]:
    """The values of the slots in a phrasing; other products and companies are those that are not the user's."""
    known, native = others(), others().native.get(code)
    values = {**language(code).slots, "product": known.products, "company": known.companies}
    if native:
        values |= {"product": [*native.products, *known.products[:20]], "company": [*native.companies, *known.companies[:16]]}
    names = sorted({slot for t in turns for slot in re.findall(r"\{(\w+)\}", t)} & values.keys())
    return {slot: tuple(v for v in values[slot] if not any(same(v, own) for own in facts.own)) for slot in names}


@cache
def wraps_of(code: str) -> tuple[tuple[str, str], ...]:
    """What may stand around a question: nothing first."""
    words = language(code)
    return tuple((before, after) for before in words.before for after in words.after)


def draw(ways: Sequence[Phrasing], seed: int) -> Iterator[Question]:
    """Questions without end in sight, each once: one of every phrasing, then a second of every phrasing, and so on."""
    order = sorted(ways, key=lambda p: content_id(p.id, seed))
    seen: set[str] = set()
    for k in range(max((p.size for p in order), default=0)):
        for phrasing in order:
            if k < phrasing.size:
                question = phrasing.question(k, seed)
                # "Hi. Who are you?" and "Hi! Who are you?" are one question.
                cluster = prompt_cluster([m for m in question.messages if m["role"] == "user"])
                if cluster not in seen:
                    seen.add(cluster)
                    yield question


def _step(size: int, k: int, key: int) -> int:
    """The k-th place of a walk through `size` places that comes to each once."""
    step = next(s for s in range(1 + key % size, size * 2 + 1) if gcd(s, size) == 1)
    return (key // size + k * step) % size
