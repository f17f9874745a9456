"""A judge of a recipe with models that say what a test wants, and a record of what they were asked."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from pipeline.budget import Budget
from pipeline.cache import ReplyCache
from pipeline.errors import RequestFailed
from pipeline.judges import make_judge
from pipeline.model import Model
from pipeline.records import Answer, Comparison, Prompt, Reply, Request, Verdict
from pipeline.settings import judge_models
from tests.harness.shards import answer, prompt

SCRIPTED = {"engine": "scripted", "structured": False}

Say = Callable[[Request], str | Reply | RequestFailed]


@dataclass
class Judged:
    """The verdicts, what each model was asked, and what was counted as spent."""

    verdicts: list[Verdict]
    asked: list[tuple[str, Request]] = field(default_factory=list)
    budget: Budget = field(default_factory=Budget)

    @property
    def choices(self) -> list[str]:
        return [v.choice for v in self.verdicts]

    @property
    def texts(self) -> list[str]:
        """The last message of every request."""
        return [request.messages[-1]["content"] for _, request in self.asked]


def judge_answers(
    raw: Any,
    say: Say | Mapping[str, Say],
    texts: Sequence[str],
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    to: Prompt | None = None,
    logprobs: bool = False,
    cache: Path | str = ":memory:",
) -> Judged:
    """Judge answers with these texts, all pairs of them or these; the answer to number n of `texts` is by the model `n`.

    `say` is what every model says, or each by its name (`judge`, `judge.1`, …); `logprobs` whether they claim to give them.
    """
    question = to or prompt("Which is best?")
    answers = [answer(question, str(n), text) for n, text in enumerate(texts)]
    comparisons = [Comparison.of(question.id, answers[i].id, answers[j].id) for i, j in pairs or combinations(range(len(texts)), 2)]
    return judge_comparisons(raw, say, question, {a.id: a for a in answers}, comparisons, logprobs=logprobs, cache=cache)


def judge_comparisons(
    raw: Any,
    say: Say | Mapping[str, Say],
    question: Prompt,
    answers: Mapping[str, Answer],
    comparisons: Sequence[Comparison],
    *,
    logprobs: bool = False,
    cache: Path | str = ":memory:",
) -> Judged:
    judged = Judged([])

    def listen(model: Model) -> None:
        says = say if callable(say) else say[model.name]

        async def reply(request: Request) -> Reply:
            judged.asked.append((model.name, request))
            said = says(request)
            if isinstance(said, RequestFailed):
                raise said
            return said if isinstance(said, Reply) else Reply(said)

        model.engine.reply = reply  # type: ignore[method-assign]
        model.engine.logprobs = logprobs

    async def run() -> list[Verdict]:
        with ReplyCache(Path(cache)) as replies:
            models = {name: Model(name, settings, replies, judged.budget) for name, settings in judge_models(raw).items()}
            for model in models.values():
                listen(model)
            return await make_judge(raw, models).judge(question, answers, comparisons)

    judged.verdicts = asyncio.run(run())
    return judged


def shown(request: Request) -> list[str]:
    """The answers in a judge's request, in their order: what stands in the fences."""
    found = re.findall(r"<(answer(?:_\d+)?)>\n(.*?)\n</\1>", request.messages[-1]["content"], re.DOTALL)
    return [text for _, text in found]


def quality(text: str) -> float:
    """The number in an answer such as `q=7`: how good the test says it is."""
    found = re.search(r"q=(-?\d+(?:\.\d+)?)", text)
    return float(found[1]) if found else 0.0


def compare_fairly(request: Request) -> str:
    """What a judge says that knows the quality of both answers."""
    one, two = map(quality, shown(request))
    return f"Verdict: {'tie' if one == two else 1 if one > two else 2}"


def rank_fairly(request: Request) -> str:
    """The same of a list."""
    answers = shown(request)
    order = sorted(range(len(answers)), key=lambda i: -quality(answers[i]))
    return "Ranking: " + " > ".join(str(i + 1) for i in order)
