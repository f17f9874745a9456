"""A model scores each answer by itself, on criteria of yours: no order can sway it, and K answers take K scores, not K² verdicts.

A score is the mean of the judge's distribution over the scale where the engine gives log probabilities, which beats the
likeliest score (Wang et al. 2025, 2503.03064); elsewhere it is the mean of k samples (2604.13717: k = 3 has most of the gain).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, Field, model_validator

from pipeline.judges._asking import Heard, ModelJudge, ask_until_read, object_schema
from pipeline.judges._cost import Cost
from pipeline.judges._read_scores import TOP, Scale, Scores, read_distribution, read_scores
from pipeline.judges._scored import verdict_on
from pipeline.model import Model, settle
from pipeline.records import Answer, Comparison, Message, Prompt, Reply, Verdict
from pipeline.settings import Anything, Closed, JudgeSettings

_INPUTS = frozenset({"question", "answer", "reference", "criteria", "low", "high", "structured", "reason"})
"""What a prompt file for this judge may ask for."""


class Criterion(Closed):
    """One thing that counts; a plain text is its `about`."""

    about: str = ""
    """A sentence on what is looked at."""
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Its part in the score: the score is the weighted mean over the criteria."""
    anchors: dict[int, str] = Field(default_factory=dict)
    """Score: what an answer with it is like. Not every score needs one."""


def _from_text(given: Any) -> Any:
    return {"about": given} if isinstance(given, str) else given


class Settings(JudgeSettings):
    """The rubric judge."""

    kind: Literal["rubric"] = "rubric"
    """The name of this plug-in."""
    model: Anything
    """The engine that judges, as in `models`."""
    criteria: dict[str, Annotated[Criterion, BeforeValidator(_from_text)]]
    """Name: what counts, such as `{helpful: {about: It does what was asked., weight: 2, anchors: {1: not at all, 5: fully}}}`."""
    scale: tuple[int, int] = (1, 5)
    """[worst, best] score. Distributions are read on scales of one digit."""
    per_call: Literal["all", "one"] = "all"
    """Criteria in one request: `one` costs more, and keeps a good score on one from colouring the next."""
    prompt: str = "judge/rubric"
    """A file below prompts/, or the path of one of your own."""
    reason: bool = False
    """Whether the judge argues before it scores; where distributions are read, that often hurts (2503.03064)."""
    distribution: bool = True
    """Whether the mean of the distribution is taken where the engine gives log probabilities."""
    samples: int = Field(3, ge=1, le=100)
    """Samples to take the mean of where it gives none. At temperature 0 all would be the same, and one is asked."""
    attempts: int = Field(3, ge=1, le=20)
    """Askings for each sample until an unreadable reply counts as none."""
    tie_within: float = Field(0.1, ge=0, allow_inf_nan=False)
    """Scores that lie no further apart are a tie."""

    @model_validator(mode="after")
    def _can_be_scored(self) -> "Settings":
        low, high = self.scale
        if not self.criteria:
            raise ValueError("a rubric without criteria scores nothing; give at least one, such as `criteria: {helpful: …}`")
        if not any(c.weight for c in self.criteria.values()):
            raise ValueError("the weights of all criteria are 0; give at least one criterion a weight above 0")
        if not 0 <= low < high:
            raise ValueError(f"`scale` is [{low}, {high}]; wanted [worst, best] with 0 <= worst < best")
        if len({name.casefold() for name in self.criteria}) < len(self.criteria):
            raise ValueError("two criteria differ in case alone, and a reply may write either; rename one")
        for name, criterion in self.criteria.items():
            if not name.replace("_", "").replace("-", "").isalnum() or name == "reason":
                raise ValueError(
                    f"the criterion '{name}' has a name that no reply can hold; use letters, digits, - and _, and not `reason`"
                )
            if out := [score for score in criterion.anchors if not low <= score <= high]:
                raise ValueError(f"the criterion '{name}' has an anchor at {out[0]}, and the scale is {low} to {high}; move one of them")
        return self


Criteria = Mapping[str, Criterion]


@dataclass(frozen=True, slots=True)
class _Scored:
    """What an answer got: a score for each criterion, what the judge wrote, and why there is no score."""

    scores: Scores | None
    replies: tuple[str, ...]
    cost: Cost
    reason: str | None = None


class Judge(ModelJudge):
    """See the module."""

    def __init__(self, settings: Settings, model: Model | None) -> None:
        super().__init__("rubric", settings.prompt, model, {"answer", "criteria"}, _INPUTS)
        self.settings = settings
        self._scale = Scale(*settings.scale)
        self._reads = settings.distribution and self.model.gives_logprobs and self._scale.is_digits
        self._samples = settings.samples if self.model.settings.sampling.temperature else 1
        whole, criteria = settings.per_call == "all", settings.criteria
        self._calls: Sequence[Criteria] = [criteria] if whole else [{name: c} for name, c in criteria.items()]

    def revision(self) -> str:
        # An engine that learns to give log probabilities makes other scores.
        return f"{super().revision()}{' distribution' * self._reads}"

    def requests(self, answers: int, comparisons: int) -> int:
        return answers * len(self._calls) * (1 if self._reads else self._samples)

    async def judge(self, prompt: Prompt, answers: Mapping[str, Answer], comparisons: Sequence[Comparison]) -> list[Verdict]:
        meetings = Counter(side for c in comparisons for side in (c.a, c.b))
        scored = dict(zip(meetings, await settle(self._score(prompt, answers[side].text) for side in meetings), strict=True))
        share = {side: scored[side].cost.over(times) for side, times in meetings.items()}
        return [Cost.sum([share[c.a], share[c.b]]).on(self._verdict(c, scored[c.a], scored[c.b])) for c in comparisons]

    def _verdict(self, comparison: Comparison, a: _Scored, b: _Scored) -> Verdict:
        said = {side: {"scores": of.scores, "replies": of.replies} for side, of in (("a", a), ("b", b))}
        return verdict_on(
            comparison,
            self.name,
            self._mean(a.scores),
            self._mean(b.scores),
            tie_within=self.settings.tie_within,
            reason=a.reason or b.reason,
            reply=orjson.dumps(said).decode(),
            prompt_sha=self.prompt.sha256,
        )

    def _mean(self, scores: Scores | None) -> float | None:
        """The weighted mean over the criteria, on their scale."""
        if scores is None:
            return None
        weights = {name: c.weight for name, c in self.settings.criteria.items()}
        return sum(scores[name] * weight for name, weight in weights.items()) / sum(weights.values())

    async def _score(self, prompt: Prompt, answer: str) -> _Scored:
        parts = await settle(self._ask(prompt, answer, criteria) for criteria in self._calls)
        replies = tuple(reply for part in parts for reply in part.replies)
        missing = next((part.reason for part in parts if part.scores is None), None)
        scores = None if missing else {n: s for part in parts for n, s in (part.scores or {}).items()}
        return _Scored(scores, replies, Cost.sum(part.cost for part in parts), missing)

    async def _ask(self, prompt: Prompt, answer: str, criteria: Criteria) -> _Scored:
        """The scores on these criteria: one reply's distribution, or the mean over the samples that can be read."""
        messages = self._messages(prompt, answer, criteria)
        heard = [await self._sample(messages, tuple(criteria), 0, TOP if self._reads else 0)]
        if not (heard[0].value and heard[0].value.distributed) and heard[0].reason in (None, "unreadable"):
            heard += await settle(self._sample(messages, tuple(criteria), n, 0) for n in range(1, self._samples))
        read = [h.value.scores for h in heard if h.value]
        replies = tuple(h.text for h in heard if h.text is not None)
        cost = Cost.sum(h.cost for h in heard)
        if not read:
            return _Scored(None, replies, cost, heard[0].reason)
        return _Scored({name: sum(scores[name] for scores in read) / len(read) for name in criteria}, replies, cost)

    async def _sample(self, messages: Sequence[Message], names: Sequence[str], sample: int, logprobs: int) -> Heard["_Read"]:
        def read(reply: Reply) -> _Read | None:
            distribution = read_distribution(reply, names, self._scale) if logprobs else None
            scores = distribution or read_scores(reply, names, self._scale)
            return _Read(scores, distribution is not None) if scores else None

        scale = [*range(self._scale.low, self._scale.high + 1)]
        schema = object_schema({name: {"type": "integer", "enum": scale} for name in names}, reason=self.settings.reason)
        tries = range(sample, self._samples * self.settings.attempts, self._samples)
        return await ask_until_read(self.model, messages, read, tries, schema, logprobs)

    def _messages(self, prompt: Prompt, answer: str, criteria: Criteria) -> Sequence[Message]:
        given = {
            "question": prompt.question,
            "answer": answer,
            "reference": prompt.reference,
            "criteria": [
                {"name": name, "about": c.about, "anchors": [{"score": s, "text": text} for s, text in sorted(c.anchors.items())]}
                for name, c in criteria.items()
            ],
            "low": self._scale.low,
            "high": self._scale.high,
            "structured": self.model.engine.structured,
            "reason": self.settings.reason,
        }
        return self.prompt.render(**{name: given[name] for name in self.prompt.inputs})


@dataclass(frozen=True, slots=True)
class _Read:
    """Scores of one reply, and whether they are the means of a distribution."""

    scores: Scores
    distributed: bool
