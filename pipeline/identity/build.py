"""Build: as many distinct pairs as are asked for, evenly over the languages, and the questions that measure what they teach."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any, Literal

from pipeline.errors import RecipeError
from pipeline.identity.answers import Made, Replies, Writer
from pipeline.identity.contrast import Parts, contrast, draw_contrast, size
from pipeline.identity.facts import Facts
from pipeline.identity.keeping import Kept
from pipeline.identity.questions import Phrasing, Question, draw, in_full, phrasings
from pipeline.identity.words import families, language
from pipeline.records import prompt_cluster
from pipeline.tables import Dropped

EvaluationSplit = Literal["dev", "test", "test-phrasings", "test-families", "attacks"]
"""`dev` is for choosing hyper-parameters; the others are looked at once, at the end. `test` is that of the contrast questions."""

Naming = Literal["both", "asked"]

MOST = 100_000
"""Pairs. Some hundreds teach an identity; more than this is a slip of the hand, and would say the same things for hours."""

_VARIANTS = {"things": 3, "tasks": 1, "talk": 8, "senses": 8}
"""Questions of each held-out thing, task, talk or sense; of each phrasing about the model three."""

_SPARE = 5
"""Times as many contrast questions are looked through for tasks that the model to be trained can do, and of the user's own
prompts for such as it answers."""

_MOST_ITEMS = 24
"""Held-out items of a group of contrast questions that are asked: there are thousands of sums."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what. RecipeError where that cannot be."""

    pairs: int = 300
    languages: tuple[str, ...] = ("en",)
    contrast: float = 0.35
    """Share of the pairs whose question is not about the model."""
    seed: int = 0
    naming: Naming = "both"
    """What chosen answers about the model say: name and maker, or what the question asked for."""

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise RecipeError(f"pairs {self.pairs}: wanted at least 1; some hundreds teach a model its name: ask for 300")
        if not 0 <= self.contrast <= 0.9:
            raise RecipeError(f"contrast {self.contrast:g}: wanted a share of the pairs from 0 to 0.9; give one, such as 0.35")
        if not self.languages:
            raise RecipeError("languages is empty; name at least one, such as en")
        for code in self.languages:
            language(code)
        if len(set(self.languages)) < len(self.languages):
            raise RecipeError(f"languages {','.join(self.languages)}: one is named twice; name each once")

    def shares(self) -> Iterator[tuple[str, int, int]]:
        """For each language: how many pairs whose question is about the model, and how many others."""
        for code, pairs in zip(self.languages, _shares(self.pairs, len(self.languages)), strict=True):
            others = round(pairs * self.contrast)
            yield code, pairs - others, others


@dataclass(frozen=True, slots=True)
class Built:
    """The pairs in their order, what was dropped, and the evaluation questions by split."""

    pairs: Sequence[Made]
    dropped: Sequence[Dropped]
    evaluation: Sequence[tuple[EvaluationSplit, Question]]
    worded: int = 0
    """Pairs whose question a model worded."""
    kept: Kept = field(default_factory=Kept)
    """The prompts of the user's own work, and those among them that could not be taken."""


@dataclass(frozen=True, slots=True)
class Portion:
    """Pairs of one language and sort: how many, and the questions they come from."""

    wanted: int
    questions: Iterator[Question]
    kept: Sequence[Question] = ()
    """Prompts of the user's own work, of which `half` go before the questions."""

    @property
    def half(self) -> int:
        """How many pairs come from the user's own prompts, as far as the model solves so many."""
        return (self.wanted + 1) // 2


class Material:
    """All the questions that a plan may draw from. `more` are phrasings that a model worded (see paraphrase)."""

    def __init__(self, facts: Facts, plan: Plan, more: Sequence[Phrasing] = (), kept: Kept | None = None) -> None:
        self.facts, self.plan, self.kept = facts, plan, kept or Kept()
        self._own = {code: [*phrasings(code, facts), *(p for p in more if p.language == code)] for code in plan.languages}
        self._contrast = {code: contrast(code, facts) for code in plan.languages}
        self.worded = frozenset(p.id for p in more)
        """Ids of the phrasings of a model's."""

    @property
    def phrasings(self) -> list[Phrasing]:
        """All about the model, of every side."""
        return [p for ways in self._own.values() for p in ways]

    @cached_property
    def evaluated(self) -> frozenset[str]:
        """The clusters of all evaluation questions."""
        return frozenset(_cluster(q) for _, q in self.evaluation())

    def portions(self) -> Iterator[Portion]:
        """For each language two: the questions about the model, then those about something else."""
        for code, own, others in self.plan.shares():
            yield Portion(own, self._drawn(code))
            rest = Portion(others, draw_contrast(_of_side(self._contrast[code], test=False), self.plan.seed))
            yield replace(rest, kept=self.kept.of(code)[: (1 + _SPARE) * rest.half])

    def _drawn(self, code: str) -> Iterator[Question]:
        # Whatever a model worded and whatever is set into it: what is asked for evaluation is in no pair that trains.
        drawn = draw([p for p in self._own[code] if p.side != "test"], self.plan.seed)
        fresh = (q for q in drawn if q.phrasing not in self.worded or _cluster(q) not in self.evaluated)
        return map(in_full, fresh) if self.plan.naming == "both" else fresh

    def most(self) -> int:
        """How many pairs this plan can have at most, by the language and kind that end first."""
        ends = []
        for code in self.plan.languages:
            own = sum(p.size for p in self._own[code] if p.side != "test")
            others = size(_of_side(self._contrast[code], test=False))
            ends.append(min(own / (1 - self.plan.contrast), others / self.plan.contrast if self.plan.contrast else float("inf")))
        return min(int(min(ends) * len(self.plan.languages)), MOST)

    def check(self) -> None:
        """RecipeError where the plan asks for more pairs than there are."""
        if self.plan.pairs > (most := self.most()):
            raise _too_many(self.plan, most)

    def first(self) -> list[Question]:
        """What models are asked: the questions that the pairs begin with, and more tasks, since not every one will be solved."""
        asked: list[Question] = []
        for portion in self.portions():
            drawn = list(islice(portion.questions, portion.wanted))
            asked += drawn
            if drawn and not drawn[0].expected:
                asked += [q for q in islice(portion.questions, _SPARE * portion.wanted) if q.kind == "skill"]
            asked += portion.kept
        return asked

    def evaluation(self) -> list[tuple[EvaluationSplit, Question]]:
        """The questions on the sides dev and test: the dev ones and test ones of every language, in a fixed order."""
        asked: list[tuple[EvaluationSplit, Question]] = []
        for code in self.plan.languages:
            held = [p for p in self._own[code] if p.side != "train"]
            asked += [(_split(p), p.question(k, 0)) for p in held for k in range(min(3, p.size))]
            for part, groups in self._contrast[code].items():
                items = [p for group in groups for p in [p for p in group if p.side != "train"][:_MOST_ITEMS]]
                asked += [
                    ("dev" if p.side == "dev" else "test", p.question(k, 0)) for p in items for k in range(min(_VARIANTS[part], p.size))
                ]
        seen: set[str] = set()
        return [(split, q) for split, q in asked if not _met(seen, _cluster(q))]


def build(material: Material, replies: Mapping[str, Replies]) -> Built:
    """Make the pairs. `replies` are what models said, by the question's id; a question without any is answered by templates.

    Where a judge picked among the answers, the questions that were answered are all there is: no template takes the place of
    what it left undecided. RecipeError where more pairs are asked for than there are distinct questions.
    """
    plan = material.plan
    material.check()
    writer = Writer(material.facts, plan.seed)
    judged = any(r.picked is not None for r in replies.values())
    pairs: list[Made] = []
    dropped: list[Dropped] = []
    for portion in material.portions():
        made = _keep(portion, pairs, writer, replies, dropped)
        met = {_cluster(p.question) for p in made}
        drawn = (q for q in portion.questions if _cluster(q) not in met) if met else portion.questions
        questions = _solved_first(drawn, portion.wanted - len(made), writer, replies)
        while len(made) < portion.wanted:
            question = next(questions, None)
            if judged and (question is None or (question.expected and question.id not in replies)):
                break
            if question is None:
                raise _too_many(plan, len(pairs) + len(made))
            pair = writer.write(question, replies.get(question.id, Replies()))
            if isinstance(pair, str):
                dropped.append(_dropped(question, pair))
            else:
                made.append(pair)
        pairs += made
    worded = sum(p.question.phrasing in material.worded for p in pairs)
    return Built(pairs, dropped, material.evaluation(), worded, material.kept)


def _keep(portion: Portion, before: Sequence[Made], writer: Writer, replies: Mapping[str, Replies], dropped: list[Dropped]) -> list[Made]:
    """Pairs of the user's own prompts, at most half of the portion. What makes none is added to `dropped`."""
    met = {_cluster(p.question) for p in before} if portion.kept else set()
    made: list[Made] = []
    for question in portion.kept:
        if len(made) == portion.half:
            break
        pair = "duplicate" if _cluster(question) in met else writer.write(question, replies.get(question.id, Replies()))
        if isinstance(pair, str):
            dropped.append(_dropped(question, pair))
        else:
            made.append(pair)
    return made


def _dropped(question: Question, reason: str) -> Dropped:
    return Dropped("pair", reason, question.id, question.text[:60], question.id)


def _solved_first(questions: Iterator[Question], wanted: int, writer: Writer, replies: Mapping[str, Replies]) -> Iterator[Question]:
    """The questions, but in place of tasks that the model to be trained cannot do, such as it can: they hold what it knows in place.

    A task that it fails would be new knowledge, which costs a small model old knowledge. Where no model was asked, nothing changes.
    """
    drawn = list(islice(questions, wanted))
    tasks = {q.id for q in drawn if q.kind == "skill" and q.id in replies}
    if not tasks:
        yield from drawn
        yield from questions
        return
    later = list(islice(questions, _SPARE * wanted))
    known = [q for q in (*drawn, *later) if q.kind == "skill" and any(writer.is_right(q, r) for r in replies.get(q.id, Replies()).model)]
    spent = {q.id for q in known[: len(tasks)]}
    yield from known[: len(tasks)]
    yield from (q for q in drawn if q.kind != "skill")
    yield from (q for q in (*drawn, *later) if q.id not in spent and q.kind == "skill" and q.id in tasks)
    yield from (q for q in later if q.id not in spent)
    yield from questions


def figures(built: Built) -> dict[str, Any]:
    """What stands in the summary of where the pairs came from."""

    def count(values: Iterator[str]) -> dict[str, int]:
        found = list(values)
        return {value: found.count(value) for value in sorted(set(found))}

    pairs = built.pairs
    own = [p for p in pairs if p.question.expected]
    return {
        "languages": count(p.question.language for p in pairs),
        "kinds": count(p.question.kind for p in pairs),
        "families": count(p.question.family for p in pairs),
        "chosen_from": count(p.chosen_from for p in own),
        "kept_from": count(p.chosen_from for p in pairs if not p.question.expected),
        "rejected_from": count(p.rejected_from for p in own),
        "chosen_by": count(p.source for p in own),
        "phrasings": len({p.question.phrasing for p in own}),
        "questions_from": {"us": len(own) - built.worded, "strong": built.worded},
        "evaluation": count(split if q.expected else f"{q.kind}-{split}" for split, q in built.evaluation),
    }


def _split(phrasing: Phrasing) -> EvaluationSplit:
    if phrasing.side == "dev":
        return "dev"
    if phrasing.kind == "attack":
        return "attacks"
    return "test-families" if families()[phrasing.family].heldout else "test-phrasings"


def _of_side(parts: Parts, *, test: bool) -> Parts:
    return {part: [[p for p in group if (p.side == "test") is test] for group in groups] for part, groups in parts.items()}


def _shares(whole: int, parts: int) -> list[int]:
    return [whole // parts + (n < whole % parts) for n in range(parts)]


def _met(seen: set[str], cluster: str) -> bool:
    found = cluster in seen
    seen.add(cluster)
    return found


def _cluster(question: Question) -> str:
    return prompt_cluster(question.messages)


def _too_many(plan: Plan, most: int) -> RecipeError:
    if most >= MOST:
        return RecipeError(f"pairs {plan.pairs}: wanted at most {MOST}, since some hundreds teach an identity; ask for fewer")
    found = f"pairs {plan.pairs}: there are distinct questions for {most} pairs in {', '.join(plan.languages)}"
    return RecipeError(f"{found} with contrast {plan.contrast:g}; ask for at most so many, or name more languages")
