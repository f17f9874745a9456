"""A model compares two answers, in both orders: what flips with the order is no win (Zheng et al. 2023, MT-bench, 2306.05685)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from pydantic import Field

from pipeline.judges._asking import Heard, ModelJudge, ask_until_read, criterion_for, json_in, object_schema
from pipeline.model import Model, settle
from pipeline.records import Answer, Choice, Comparison, Order, Prompt, Reply, Verdict
from pipeline.settings import Anything, JudgeSettings

_INPUTS = frozenset({"question", "answer_1", "answer_2", "reference", "criterion", "structured", "reason"})
"""What a prompt file for this judge may ask for."""


Shown = Literal["1", "2", "tie"]
"""Which of the two that were shown is better."""


class Settings(JudgeSettings):
    """The pairwise judge."""

    kind: Literal["pairwise"] = "pairwise"
    """The name of this plug-in."""
    model: Anything
    """The engine that judges, as in `models`. Temperature 0 is the usual choice."""
    prompt: str = "judge/pairwise"
    """A file below prompts/, or the path of one of your own."""
    orders: Literal["both", "one"] = "both"
    """`one` halves the cost and hides the judge's order bias: its verdicts are not trusted to pair unless the strategy
    is told to accept them."""
    reason: bool = True
    """Whether the judge compares in words before it decides."""
    structured: bool = True
    """Whether the reply is held to a JSON schema where the engine can. Off for a small model that learned a form of its own:
    held to another, down to its spaces, it writes what it never learned."""
    criteria: dict[str, str] = Field(default_factory=dict)
    """Category: one sentence on what counts there. `default` is for all others."""
    attempts: int = Field(3, ge=1, le=20)
    """Askings until an unreadable reply counts as invalid."""


class Judge(ModelJudge):
    """See the module."""

    def __init__(self, settings: Settings, model: Model | None) -> None:
        super().__init__("pairwise", settings.prompt, model, {"answer_1", "answer_2"}, _INPUTS)
        self.settings = settings
        self.orders: tuple[Order, ...] = ("AB", "BA") if settings.orders == "both" else ("AB",)

    def requests(self, answers: int, comparisons: int) -> int:
        return comparisons * len(self.orders)

    async def judge(self, prompt: Prompt, answers: Mapping[str, Answer], comparisons: Sequence[Comparison]) -> list[Verdict]:
        return await settle(
            self._verdict(prompt, c, answers[c.a].text, answers[c.b].text, order) for c in comparisons for order in self.orders
        )

    async def _verdict(self, prompt: Prompt, comparison: Comparison, a: str, b: str, order: Order) -> Verdict:
        first, second = (a, b) if order == "AB" else (b, a)
        given = {
            "question": prompt.question,
            "answer_1": first,
            "answer_2": second,
            "reference": prompt.reference,
            "criterion": criterion_for(self.settings.criteria, prompt.category),
            "structured": self.model.engine.structured and self.settings.structured,
            "reason": self.settings.reason,
        }
        messages = self.prompt.render(**{name: given[name] for name in self.prompt.inputs})
        schema = verdict_schema(reason=self.settings.reason) if self.settings.structured else None
        heard: Heard[Shown] = await ask_until_read(self.model, messages, read_verdict, range(self.settings.attempts), schema)
        choice: Choice = "invalid" if heard.value is None else about_sides(heard.value, order)
        sha = self.prompt.sha256
        verdict = Verdict(comparison.id, prompt.id, self.name, order, choice, "llm", reason=heard.reason, reply=heard.text, prompt_sha=sha)
        return heard.cost.on(verdict)


_LINE = re.compile(r"verdict\W{0,6}(1|2|tie)\b", re.IGNORECASE)


def read_verdict(reply: Reply) -> Shown | None:
    """What a judge's reply says, or None where it says nothing that can be read. A reply that was cut off says nothing."""
    if reply.finish_reason == "length":
        return None
    said = _plain(json_in(reply.text).get("verdict"))
    if said is None:
        # The last verdict counts: the reasoning before it may quote the format.
        lines = _LINE.findall(reply.text)
        said = lines[-1].lower() if lines else None
    return cast(Shown, said) if said in ("1", "2", "tie") else None


def _plain(said: object) -> str | None:
    return str(said).strip().lower() if isinstance(said, str | int) and not isinstance(said, bool) else None


def about_sides(shown: Shown, order: Order) -> Choice:
    """From "the first shown is better" to which stored side that is."""
    if shown == "tie":
        return "tie"
    return "A" if (shown == "1") == (order == "AB") else "B"


def verdict_schema(*, reason: bool) -> dict[str, Any]:
    """The JSON that a judge replies with, where its engine honours a schema."""
    return object_schema({"verdict": {"type": "string", "enum": ["1", "2", "tie"]}}, reason=reason)
