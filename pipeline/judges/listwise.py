"""A model ranks all answers to a prompt in one call, in shuffled orders: K answers cost a few calls instead of K² verdicts.

Every order is asked together with its reverse, so that each answer stands as often before every other as behind it, and the
mean over the ranks says nothing of the places (as in permutation self-consistency, Tang et al. 2024, 2310.07712). Answers
that do not fit into one call are ranked in smaller groups, which together hold every comparison that was asked.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from random import Random
from typing import Literal

import orjson
from pydantic import Field, model_validator

from pipeline.judges._asking import Heard, ModelJudge, ask_until_read, criterion_for, json_in, object_schema
from pipeline.judges._cost import Cost
from pipeline.judges._scored import verdict_on
from pipeline.model import Model, settle
from pipeline.records import Answer, Comparison, Prompt, Reply, Verdict, content_id
from pipeline.settings import Anything, JudgeSettings

_INPUTS = frozenset({"question", "answers", "reference", "criterion", "structured", "reason"})
"""What a prompt file for this judge may ask for."""


class Settings(JudgeSettings):
    """The listwise judge."""

    kind: Literal["listwise"] = "listwise"
    """The name of this plug-in."""
    model: Anything
    """The engine that judges, as in `models`."""
    repetitions: int = Field(2, ge=2, le=100)
    """Rankings of the same answers, an even number: a shuffled order and its reverse by turns."""
    at_once: int | None = None
    """Most answers in one call, from 2; all of a prompt's when left out. Fewer are shown where they do not fit the model's context."""
    prompt: str = "judge/listwise"
    """A file below prompts/, or the path of one of your own."""
    reason: bool = True
    """Whether the judge compares in words before it ranks."""
    criteria: dict[str, str] = Field(default_factory=dict)
    """Category: one sentence on what counts there. `default` is for all others."""
    attempts: int = Field(3, ge=1, le=20)
    """Askings until an unreadable reply counts as invalid."""
    seed: int = 0
    """Of the orders."""

    @model_validator(mode="after")
    def _has_something_to_rank(self) -> "Settings":
        if self.repetitions % 2:
            raise ValueError(f"`repetitions` is {self.repetitions}; wanted an even number, since every order is asked with its reverse")
        if self.at_once is not None and self.at_once < 2:
            raise ValueError(f"`at_once` is {self.at_once}, and a ranking takes at least 2 answers; raise it or leave it out")
        return self


Ids = tuple[str, ...]
"""Of answers."""


class Judge(ModelJudge):
    """See the module."""

    def __init__(self, settings: Settings, model: Model | None) -> None:
        super().__init__("listwise", settings.prompt, model, {"answers"}, _INPUTS)
        self.settings = settings

    def requests(self, answers: int, comparisons: int) -> int:
        return self.settings.repetitions * (answers > 1)

    async def judge(self, prompt: Prompt, answers: Mapping[str, Answer], comparisons: Sequence[Comparison]) -> list[Verdict]:
        given = {v.comparison_id: v for v in await self._verdicts(prompt, answers, comparisons)}
        return [given[c.id] for c in comparisons]

    async def _verdicts(self, prompt: Prompt, answers: Mapping[str, Answer], comparisons: Sequence[Comparison]) -> list[Verdict]:
        """In any order. Where all answers at once are too many, or too long, the comparisons are shared out among groups."""
        ids: Ids = tuple(sorted({side for c in comparisons for side in (c.a, c.b)}))
        if len(ids) <= (self.settings.at_once or len(ids)):
            heard = await settle(self._rank(prompt, answers, order, n // 2) for n, order in enumerate(self._orders(prompt, ids)))
            if len(ids) <= 2 or all(h.reason != "context_length" for h in heard):
                cost = Cost.sum(h.cost for h in heard).over(len(comparisons))
                return [cost.on(self._verdict(c, heard)) for c in comparisons]
        came = await settle(self._verdicts(prompt, answers, group) for group in share_out(ids, comparisons))
        return [verdict for group in came for verdict in group]

    def _orders(self, prompt: Prompt, ids: Ids) -> list[Ids]:
        """Depend on the answers and the seed alone, not on who met whom in which order."""
        rng = Random(content_id(self.settings.seed, prompt.id, ids))  # noqa: S311 - an order, not a secret
        drawn = [tuple(rng.sample(ids, len(ids))) for _ in range(self.settings.repetitions // 2)]
        return [order for shuffled in drawn for order in (shuffled, shuffled[::-1])]

    async def _rank(self, prompt: Prompt, answers: Mapping[str, Answer], order: Ids, draw: int) -> Heard[Ids]:
        """The ids, the best first. Few answers come in the same order twice; then another draw is another sample."""
        given = {
            "question": prompt.question,
            "answers": [answers[i].text for i in order],
            "reference": prompt.reference,
            "criterion": criterion_for(self.settings.criteria, prompt.category),
            "structured": self.model.engine.structured,
            "reason": self.settings.reason,
        }
        messages = self.prompt.render(**{name: given[name] for name in self.prompt.inputs})
        draws = self.settings.repetitions // 2
        samples = range(draw, draws * self.settings.attempts, draws)
        schema = _schema(len(order), self.settings.reason)
        return await ask_until_read(self.model, messages, partial(read_ranking, of=order), samples, schema)

    def _verdict(self, c: Comparison, heard: Sequence[Heard[Ids]]) -> Verdict:
        # Without one of the rankings its reverse would count alone, and with it the places.
        reason = next((h.reason for h in heard if h.value is None), None)
        score_a, score_b = (None if reason else _score(side, [h.value for h in heard if h.value]) for side in (c.a, c.b))
        said = orjson.dumps([{"ranking": h.value, "reply": h.text} for h in heard]).decode()
        return verdict_on(c, self.name, score_a, score_b, reason=reason, reply=said, prompt_sha=self.prompt.sha256)


def _score(answer: str, rankings: Sequence[Ids]) -> float:
    """The mean over the rankings of the share of the others that it stands before: 1 for the best of all, 0 for the worst."""
    places = sum(ranking.index(answer) for ranking in rankings)
    return 1 - places / len(rankings) / (len(rankings[0]) - 1)


def share_out(ids: Ids, comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    """The comparisons of three groups with two thirds of the answers each, in which any two answers stand together somewhere."""
    parts = [frozenset(ids[n::3]) for n in range(3)]
    groups: list[list[Comparison]] = [[], [], []]
    for c in comparisons:
        # The group that leaves out the first part which holds neither answer.
        groups[next(n for n, part in enumerate(parts) if c.a not in part and c.b not in part)].append(c)
    return [group for group in groups if group]


_NUMBER = r"(?:answer[ _]?)?\d+"
_LINE = re.compile(rf"ranking\W{{0,6}}({_NUMBER}(?:[ \t]*[>,;][ \t]*{_NUMBER})*)", re.IGNORECASE)


def read_ranking(reply: Reply, of: Ids) -> Ids | None:
    """What stood at the numbers of a reply, the best first; None unless every number is there once."""
    said = json_in(reply.text).get("ranking")
    if not isinstance(said, list):
        # The last ranking counts: the reasoning before it may quote the format.
        lines = _LINE.findall(reply.text)
        said = re.findall(_NUMBER, lines[-1], re.IGNORECASE) if lines else []
    found = [re.fullmatch(r"(?:answer[ _]?)?(\d{1,9})", str(one), re.IGNORECASE) for one in said]
    numbers = [int(f[1]) if f else 0 for f in found]
    return tuple(of[n - 1] for n in numbers) if sorted(numbers) == [*range(1, len(of) + 1)] else None


def _schema(count: int, reason: bool) -> Anything:
    number = {"type": "integer", "enum": [*range(1, count + 1)]}
    return object_schema({"ranking": {"type": "array", "items": number}}, reason=reason)
