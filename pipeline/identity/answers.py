"""Both sides of a pair: what a model said where it said it, else templates; and the rule has the last word on each side.

Where the chosen side is written and the model's own wrong answer is not at hand, the rejected side is the chosen one under
another name: same style, about the same length, and nothing to tell them apart but the fact.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from pipeline.identity.balance import Balance
from pipeline.identity.check import credits_us, fault, leaks, says
from pipeline.identity.facts import Facts
from pipeline.identity.keeping import KEPT, shortened, why_not
from pipeline.identity.names import pattern_of
from pipeline.identity.others import other
from pipeline.identity.questions import Question, fill
from pipeline.identity.words import language
from pipeline.records import Source

From = Literal["strong", "model", "template"]
"""Where a side came from."""

_TRIES = 12
"""Candidates that are checked before a question is given up."""


@dataclass(frozen=True, slots=True)
class Picked:
    """The better and the worse of two answers of models, and who judged."""

    chosen: str
    rejected: str
    chosen_from: From
    rejected_from: From
    source: Source


@dataclass(frozen=True, slots=True)
class Replies:
    """What models said to a question, if they were asked."""

    strong: Sequence[str] = ()
    """The strong model, told the facts; to questions about the model alone."""
    model: Sequence[str] = ()
    """The model to be trained, told nothing."""
    picked: Picked | str | None = None
    """What a judge made of them, or the reason why nothing; None where the rule decides."""


@dataclass(frozen=True, slots=True)
class Made:
    """Both answers to a question, and where each came from."""

    question: Question
    chosen: str
    rejected: str
    chosen_from: From
    rejected_from: From
    source: Source = "rule"


@dataclass(slots=True)
class Writer:
    """Writes pairs, one after another: each is chosen with a view to those before it."""

    facts: Facts
    seed: int
    balance: Balance = field(default_factory=Balance)

    def write(self, question: Question, replies: Replies) -> Made | str:
        """A pair, or the reason why there is none: `chosen_wrong`, `rejected_right`, what a judge says, or of keeping.why_not."""
        if isinstance(picked := replies.picked, str):
            return picked
        if picked is not None:
            self.balance.take(_part(question), (picked.chosen, picked.rejected))
            return Made(question, picked.chosen, picked.rejected, picked.chosen_from, picked.rejected_from, picked.source)
        if question.family == KEPT and (why := why_not(question, next(iter(replies.model), None), self.facts)):
            return why
        rng = Random(f"{self.seed} {question.id}")  # noqa: S311  # a draw that anybody may foresee
        right = self._right(question, replies, rng)
        if not right:
            return "chosen_wrong"
        wrong_said = [r for r in replies.model if r.strip() and self.is_wrong(question, r)] if question.expected else []
        candidates: dict[tuple[str, str], tuple[From, From]] = {}
        for chosen, came in right:
            if wrong_said:
                candidates |= {(chosen, r.strip()): (came, "model") for r in wrong_said}
            else:
                candidates |= {(chosen, r): (came, "template") for r in self._wrong(question, chosen, rng) if r != chosen}
        for sides in self.balance.order(_part(question), list(candidates))[:_TRIES]:
            if self.is_right(question, sides[0]) and self.is_wrong(question, sides[1]):
                self.balance.take(_part(question), sides)
                return Made(question, *sides, *candidates[sides])
        return "rejected_right"

    def is_right(self, question: Question, answer: str) -> bool:
        """What the rule says of an answer."""
        return is_right(question, answer, self.facts)

    def is_wrong(self, question: Question, answer: str) -> bool:
        """Whether an answer is wrong in the way that the pair is about."""
        if question.expected:
            return fault(answer, question.text, question.expected, self.facts) not in (None, "empty", "wrong_language")
        return leaks(answer, question.text, question.language, self.facts) or (
            question.kind == "overgeneral" and credits_us(answer, question.text, self.facts)
        )

    def _right(self, question: Question, replies: Replies, rng: Random) -> list[tuple[str, From]]:
        said = [r.strip() for r in replies.strong if self.is_right(question, r)]
        if said:
            return [(r, "strong") for r in said]
        # Beside the identity nothing shall change: what the model says by itself, right where that can be told, stays what it says.
        kept = [r.strip() for r in replies.model if not question.expected and why_not(question, r, self.facts) is None]
        if kept:
            return [(r, "model") for r in kept[:1]]
        values = {**self.facts.more, **question.values}
        written = [fill(t, values) for t in question.answers]
        return [(w, "template") for w in rng.sample(written, min(4, len(written))) if self.is_right(question, w)]

    def _wrong(self, question: Question, chosen: str, rng: Random) -> Iterable[str]:
        if question.expected:
            another = (other(rng, self.facts, question.expected.language, question.values) for _ in range(5))
            return [_renamed(chosen, self.facts, somebody) for somebody in another]
        values = {**question.values, "name": self.facts.name, "maker": self.facts.maker}
        if question.kind == "overgeneral":
            return [fill(t, {**values, "y": own}) for t in question.answers for own in self.facts.own]
        words = language(question.language)
        plain = [chosen, *(fill(t, values) for t in question.answers)]
        spoilt = [fill(leak, {**values, "answer": p}) for leak in words.leaks for p in plain]
        # Short ones too, so that chosen can be the longer one as often.
        instead = [fill(t, values) for t in (*words.answers.name, *words.answers.maker, *words.answers.both)]
        if question.family == KEPT:
            # How long they are is not ours to choose: from one word, beside which only a bare name is short, to many sentences.
            spoilt += [fill(leak, {**values, "answer": p}) for leak in words.leaks for p in shortened(chosen)]
            instead += self.facts.own
        return rng.sample(spoilt, min(8, len(spoilt))) + instead


def is_right(question: Question, answer: str, facts: Facts) -> bool:
    """Whether the rule would choose an answer: to a question about the model, or to another."""
    if question.required:
        return fault(answer, question.text, question.required, facts) is None
    return says(answer, question.holds) and not leaks(answer, question.text, question.language, facts)


def _part(question: Question) -> str:
    """What is kept even by itself: a user's own prompts have longer answers than the tasks of ours that they stand beside."""
    return KEPT if question.family == KEPT else question.kind


def _renamed(text: str, facts: Facts, another: Facts) -> str:
    """The text under another name and maker; what is written around them stays."""
    names = dict(zip(facts.own, (another.name, another.maker), strict=True))
    for own in sorted(names, key=len, reverse=True):
        mark = "\ue000" if own == facts.name else "\ue001"
        text = pattern_of((own,)).sub(mark, text)
    return text.replace("\ue000", another.name).replace("\ue001", another.maker)
