"""A model compares two answers, in both orders: what flips with the order is no win (Zheng et al. 2023, MT-bench, 2306.05685)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson
from pydantic import Field

from pipeline.errors import RecipeError, RequestFailed
from pipeline.model import Model, settle
from pipeline.prompts import load_prompt
from pipeline.records import Answer, Choice, Comparison, Order, Prompt, Reply, Verdict
from pipeline.settings import Anything, PluginSettings, label_of

_INPUTS = frozenset({"question", "answer_1", "answer_2", "reference", "criterion", "structured", "reason"})
"""What a prompt file for this judge may ask for."""


class Settings(PluginSettings):
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
    criteria: dict[str, str] = Field(default_factory=dict)
    """Category: one sentence on what counts there. `default` is for all others."""
    attempts: int = Field(3, ge=1, le=20)
    """Askings until an unreadable reply counts as invalid."""


class Judge:
    """See the module."""

    asks_model = True

    def __init__(self, settings: Settings, model: Model | None) -> None:
        assert model is not None
        self.settings = settings
        self.model = model
        self.prompt = load_prompt(settings.prompt)
        if unknown := self.prompt.inputs - _INPUTS:
            raise RecipeError(
                f"judge.prompt: {settings.prompt} wants {sorted(unknown)}; the pairwise judge gives {sorted(_INPUTS)}: take one"
            )
        self.name = f"pairwise:{label_of(model.called)}"
        self.orders: tuple[Order, ...] = ("AB", "BA") if settings.orders == "both" else ("AB",)

    def revision(self) -> str:
        return f"{self.prompt.sha256} {self.model.revision()}"

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
            "criterion": self.settings.criteria.get(prompt.category or "default", self.settings.criteria.get("default")),
            "structured": self.model.engine.structured,
            "reason": self.settings.reason,
        }
        messages = self.prompt.render(**{name: given[name] for name in self.prompt.inputs})
        choice: Choice = "invalid"
        reason: str | None = None
        text: str | None = None
        for attempt in range(self.settings.attempts):
            try:
                # Another attempt is another sample: the same one would come out of the cache, unreadable as before.
                reply = await self.model.ask(messages, sample=attempt, schema=verdict_schema(reason=self.settings.reason))
            except RequestFailed as failure:
                reason, text = failure.reason, failure.detail
                break
            text, shown = reply.text, read_verdict(reply)
            if shown is not None:
                choice, reason = about_sides(shown, order), None
                break
            reason = "unreadable"
        return Verdict(comparison.id, prompt.id, self.name, order, choice, "llm", reason=reason, reply=text, prompt_sha=self.prompt.sha256)


Shown = Literal["1", "2", "tie"]

_LINE = re.compile(r"verdict\W{0,6}(1|2|tie)\b", re.IGNORECASE)


def read_verdict(reply: Reply) -> Shown | None:
    """What a judge's reply says, or None where it says nothing that can be read. A reply that was cut off says nothing."""
    if reply.finish_reason == "length":
        return None
    said = _from_json(reply.text)
    if said is None:
        # The last verdict counts: the reasoning before it may quote the format.
        lines = _LINE.findall(reply.text)
        said = lines[-1].lower() if lines else None
    return said if said in ("1", "2", "tie") else None


def _from_json(text: str) -> Any:
    start, end = text.find("{"), text.rfind("}")
    try:
        body = orjson.loads(text[start : end + 1]) if 0 <= start < end else None
    except orjson.JSONDecodeError:
        return None
    said = body.get("verdict") if isinstance(body, dict) else None
    return str(said).strip().lower() if isinstance(said, str | int) and not isinstance(said, bool) else None


def about_sides(shown: Shown, order: Order) -> Choice:
    """From "the first shown is better" to which stored side that is."""
    if shown == "tie":
        return "tie"
    return "A" if (shown == "1") == (order == "AB") else "B"


def verdict_schema(*, reason: bool) -> dict[str, Any]:
    """The JSON that a judge replies with, where its engine honours a schema."""
    verdict = {"type": "string", "enum": ["1", "2", "tie"]}
    properties = {"reason": {"type": "string"}, "verdict": verdict} if reason else {"verdict": verdict}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
