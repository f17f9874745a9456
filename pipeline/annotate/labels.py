"""What a response says of two answers at a time, the order in which they were shown undone.

    choice     the one pair of answers: better, tie or both bad, and how clearly
    ranking    every pair of answers: the higher rank is better, one rank for both is a tie
    rating     every pair of answers: the higher mean over the criteria is better, equal means are a tie

A response that does not fit its form says nothing: None, which is counted as unreadable and is never a tie.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Literal

from pipeline.annotate.ledger import Sent
from pipeline.annotation import Form, Question, TaskKind, Value

Label = Literal["A", "B", "tie", "both_bad"]

_CHOICES: dict[str, Label] = {"1": "A", "2": "B", "tie": "tie", "both_bad": "both_bad"}

STRENGTHS = {"slight": 1, "clear": 2, "strong": 3}

TURNED: dict[Label, Label] = {"A": "B", "B": "A", "tie": "tie", "both_bad": "both_bad"}


@dataclass(frozen=True, slots=True)
class Says:
    """What one response says of two answers, the one that was shown earlier as side a."""

    a: str
    b: str
    label: Label
    strength: int | None = None
    score_a: float | None = None
    score_b: float | None = None

    def turned(self) -> "Says":
        """The same of the sides the other way round."""
        return Says(self.b, self.a, TURNED[self.label], self.strength, self.score_b, self.score_a)


def labels_of(task: Sent, form: Form, values: Mapping[str, Value]) -> list[Says] | None:
    """What the response says of each pair of the task's answers; None where it cannot be read. Not for rewrites."""
    return _READERS[task.kind](task, values) if fits(form, values) else None


def rewrite_of(form: Form, values: Mapping[str, Value]) -> str | None:
    """The text that a person wrote; None where there is none."""
    text = values.get("rewrite")
    return text if fits(form, values) and isinstance(text, str) and text.strip() else None


def fits(form: Form, values: Mapping[str, Value]) -> bool:
    """Whether every required question has an answer, and every answer is one that its question offers."""
    return all(_answers(question, values.get(question.name)) for question in form.questions)


def _answers(question: Question, value: Value | None) -> bool:
    if value is None:
        return not question.required
    if question.kind == "text":
        return isinstance(value, str)
    if question.kind == "ranking":
        ranked = [label for rank in value for label in rank.split("=")] if isinstance(value, tuple) else []
        return sorted(ranked) == sorted(question.labels)
    return not isinstance(value, tuple) and str(value) in question.labels


def _choice(task: Sent, values: Mapping[str, Value]) -> list[Says] | None:
    label = _CHOICES.get(str(values.get("choice")))
    if label is None or len(task.answers) != 2:
        return None
    strength = STRENGTHS.get(str(values.get("strength"))) if label in ("A", "B") else None
    return [Says(task.answers[0], task.answers[1], label, strength)]


def _ranking(task: Sent, values: Mapping[str, Value]) -> list[Says] | None:
    ranking = values.get("ranking")
    ranks = enumerate(ranking if isinstance(ranking, tuple) else ())
    rank = {label: number for number, labels in ranks for label in labels.split("=")}
    places = [rank.get(str(n + 1)) for n in range(len(task.answers))]
    if None in places:
        return None
    return list(_pairs(task.answers, [-float(p or 0) for p in places], scored=False))


def _rating(task: Sent, values: Mapping[str, Value]) -> list[Says] | None:
    scores: list[float] = []
    for number in range(1, len(task.answers) + 1):
        given = [float(v) for name, v in values.items() if name.endswith(f".{number}") and not isinstance(v, tuple)]
        if not given:
            return None
        scores.append(fmean(given))
    return list(_pairs(task.answers, scores, scored=True))


def _pairs(answers: Sequence[str], scores: Sequence[float], *, scored: bool) -> Iterator[Says]:
    for i, j in combinations(range(len(answers)), 2):
        label: Label = "A" if scores[i] > scores[j] else "B" if scores[i] < scores[j] else "tie"
        kept = (scores[i], scores[j]) if scored else (None, None)
        yield Says(answers[i], answers[j], label, None, *kept)


_READERS: dict[TaskKind, Callable[[Sent, Mapping[str, Value]], list[Says] | None]] = {
    "choice": _choice,
    "ranking": _ranking,
    "rating": _rating,
}
