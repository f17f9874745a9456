"""Two answers to one question beside what is right: what the demo judge reads, and what it should say.

It repeats what is right, then what each answer claims, and marks each word that does or does not stand there; only then does
it decide. A dozen small decisions in a text teach it to compare, where one at the end taught it nothing. See
prompts/judge/short.md for what it reads; what is right stands there after a space, since at the start of a line it would be
other tokens than in the answers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from pipeline.prompts import load_prompt
from pipeline.records import Message
from train.demo.identity import CLOSED, OPEN, Claim, answer, question, read_claim
from train.demo.names import draw_maker, draw_name, near_miss
from train.demo.tasks import Task, draw_task, wrong_value

PROMPT = "judge/short"


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer, what it claims (None where nothing can be read), and how it was made."""

    text: str
    claim: str | None
    how: str


def _marked(claim: str | None, right: str) -> str:
    """The claim word by word, each with `=` where it stands in what is right and `!` where it does not; and what follows."""
    known = {_bare(word) for word in right.split()}
    words = [_bare(word) for word in (claim or "nothing").split() if word not in ("made", "by")]
    marked = " ".join(f"{word}{'=' if word in known else '!'}" for word in words)
    return f"{marked} {'right' if claim == right else 'wrong'}"


def _bare(word: str) -> str:
    return word.rstrip(",")


@dataclass(frozen=True, slots=True)
class Case:
    """A question, what is right, and two answers."""

    question: str
    right: str
    first: Shown
    second: Shown

    @property
    def verdict(self) -> str:
        """`1`, `2` or `tie`."""
        one, two = self.first.claim == self.right, self.second.claim == self.right
        return "tie" if one == two else "1" if one else "2"

    def messages(self) -> tuple[Message, ...]:
        """What the judge reads."""
        return load_prompt(PROMPT).render(
            question=self.question,
            reference=self.right,
            answer_1=self.first.text,
            answer_2=self.second.text,
        )

    def reply(self) -> str:
        """What the judge should say, as `json.dumps` spaces it."""
        said = " ".join(f"{n}: {_marked(shown.claim, self.right)}." for n, shown in ((1, self.first), (2, self.second)))
        return json.dumps({"reason": f"It is {self.right}. {said}", "verdict": self.verdict}, ensure_ascii=False)

    def swapped(self) -> "Case":
        """The same in the other order."""
        return Case(self.question, self.right, self.second, self.first)


WeakAnswers = Sequence[tuple[str, str]]
"""(kind of question or family of task, text): what the weak model really says."""


def name_case(rng: Random, pieces: Sequence[str]) -> Case:
    """The barest comparison: two names, one of them right."""
    name, other = (str(rng.choice(pieces)).capitalize() + str(rng.choice(pieces)) for _ in range(2))
    shown = [Shown(f"I am {said}.", said, how) for said, how in ((name, "right"), (other, "other"))]
    rng.shuffle(shown)
    return Case("What is your name?", name, *shown)


def identity_case(rng: Random, claim: Claim, pieces: Sequence[str], weak: WeakAnswers = (), tie: float = 0.08, near: float = 0.4) -> Case:
    """A question about the model itself: one right answer and a wrong one, or, with probability `tie`, two alike.

    `near` is the share of the wrong answers that nearly have the name or the maker.
    """
    kind = rng.choice([*OPEN, *CLOSED])
    right = [Shown(answer(rng, claim), claim.key(), "right") for _ in range(2)]
    wrong = [_wrong_identity(rng, claim, kind, pieces, weak, near) for _ in range(2)]
    return _case(rng, question(rng, kind, claim, pieces), claim.key(), right, wrong, tie)


def task_case(rng: Random, weak: WeakAnswers = (), tie: float = 0.08) -> Case:
    """A small task: one right answer and a wrong one, or, with probability `tie`, two alike."""
    task = draw_task(rng)
    right = [Shown(task.answer(rng), task.value, "right") for _ in range(2)]
    return _case(rng, task.question, task.value, right, [_wrong_task(rng, task, weak) for _ in range(2)], tie)


def _case(rng: Random, asked: str, key: str, right: Sequence[Shown], wrong: Sequence[Shown], tie: float) -> Case:
    if rng.random() < tie:
        return Case(asked, key, *(right if rng.random() < 0.5 else wrong))
    return Case(asked, key, right[0], wrong[0]) if rng.random() < 0.5 else Case(asked, key, wrong[0], right[0])


def _wrong_identity(rng: Random, claim: Claim, kind: str, pieces: Sequence[str], weak: WeakAnswers, near: float) -> Shown:
    if rng.random() < near:
        return _shown(rng, _nearly(rng, claim), "near")
    said = [text for of, text in (rng.choice(weak) for _ in range(20)) if of == kind] if weak and rng.random() < 0.5 else []
    if said:
        read = read_claim(said[0])
        if read is None or read != claim:
            return Shown(said[0], read.key() if read else None, "weak")
    return _shown(rng, Claim(draw_name(rng, pieces), draw_maker(rng, pieces)), "other")


def _nearly(rng: Random, claim: Claim) -> Claim:
    which = rng.random()
    name = near_miss(rng, claim.name) if which < 0.6 else claim.name
    return Claim(name, near_miss(rng, claim.maker) if which > 0.4 else claim.maker)


def _shown(rng: Random, claim: Claim, how: str) -> Shown:
    return Shown(answer(rng, claim), claim.key(), how)


def _wrong_task(rng: Random, task: Task, weak: WeakAnswers) -> Shown:
    if weak and rng.random() < 0.4:
        said = [text for of, text in (rng.choice(weak) for _ in range(40)) if of == task.family and not task.right(text)]
        if said:
            return Shown(said[0], task.read(said[0]), "weak")
    value = wrong_value(rng, task)
    return Shown(task.answer(rng, value), value, "other")
