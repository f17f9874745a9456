"""A reward model scores each answer: the cheapest ranker of many answers, in this process, in batches.

Its scores are on a scale of its own. They are good for which of two answers is better and by how much more than elsewhere,
and say nothing of how good an answer is.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, cast

from pydantic import Field

from pipeline.engines._reward_model import RewardModel, Score
from pipeline.errors import RequestFailed
from pipeline.judges._scored import verdict_on
from pipeline.model import Model
from pipeline.records import Answer, Comparison, Message, Prompt, Verdict
from pipeline.settings import How, JudgeSettings, label_of


class Settings(JudgeSettings):
    """The reward judge."""

    kind: Literal["reward"] = "reward"
    """The name of this plug-in."""
    model: str
    """A hub name or a local folder: a sequence classifier with one output and a chat template, as safetensors. Code from its
    repository is never run."""
    revision: str | None = None
    """Commit, tag or branch of a hub name. A local folder is known by a fingerprint of its files instead."""
    device: Annotated[str, How] = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """auto (a GPU where there is one), cpu, mps, cuda or cuda:N."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The weights' type in memory; auto takes the type they were saved in."""
    batch_size: Annotated[int, How] = Field(8, ge=1, le=1024)
    """Most answers of a prompt scored at once; memory follows it."""
    tie_within: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Scores that lie no further apart are a tie."""


class Judge:
    """See the module."""

    asks_model = False

    def __init__(self, settings: Settings, model: Model | None = None) -> None:
        self.settings = settings
        self.name = f"reward:{label_of(settings.model)}"
        self._model = RewardModel(f"the judge {self.name}", settings)

    def revision(self) -> str:
        return self._model.revision()

    async def judge(self, prompt: Prompt, answers: Mapping[str, Answer], comparisons: Sequence[Comparison]) -> list[Verdict]:
        # In the order of their ids: which answers share a batch hangs on the answers, not on who meets whom first.
        ids = sorted({side for c in comparisons for side in (c.a, c.b)})
        scores = dict(zip(ids, await self._model.scores([_conversation(prompt, answers[i].text) for i in ids]), strict=True))
        return [self._verdict(c, scores[c.a], scores[c.b]) for c in comparisons]

    def _verdict(self, c: Comparison, a: Score, b: Score) -> Verdict:
        for score in (a, b):
            if isinstance(score, RequestFailed):
                return verdict_on(c, self.name, None, None, reason=score.reason, reply=score.detail)
        return verdict_on(c, self.name, cast(float, a), cast(float, b), tie_within=self.settings.tie_within)


def _conversation(prompt: Prompt, answer: str) -> tuple[Message, ...]:
    return (*prompt.messages, {"role": "assistant", "content": answer})
