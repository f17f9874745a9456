"""Asking a model until it says something that can be read: what all judges that ask one have in common."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import orjson

from pipeline.errors import RecipeError, RequestFailed
from pipeline.judges._cost import Cost
from pipeline.model import Model
from pipeline.prompts import PromptFile, load_prompt
from pipeline.records import Message, Reply
from pipeline.settings import judge_place, label_of

T = TypeVar("T")


class ModelJudge:
    """What judges that ask one model by a prompt file have in common. `kind` is the plug-in's name; the file must show what
    `needs` names, and may show what `gives` names."""

    asks_model = True

    def __init__(self, kind: str, prompt: str, model: Model | None, needs: Set[str], gives: Set[str]) -> None:
        assert model is not None
        self.model: Model = model
        self.prompt = prompt_for(model, kind, prompt, needs, gives)
        self.name = f"{kind}:{label_of(model.called)}"

    def revision(self) -> str:
        return f"{self.prompt.sha256} {self.model.revision()}"


@dataclass(frozen=True, slots=True)
class Heard(Generic[T]):
    """What came of asking: a value that was read, or the reason why there is none; and the words."""

    value: T | None
    reason: str | None
    text: str | None
    cost: Cost = field(default_factory=Cost)
    """Of every reply on the way."""


async def ask_until_read(
    model: Model,
    messages: Sequence[Message],
    read: Callable[[Reply], T | None],
    samples: Iterable[int],
    schema: Mapping[str, Any] | None = None,
    logprobs: int = 0,
) -> Heard[T]:
    """Ask for one sample after the other until one can be read: the same one would come out of the cache, unreadable as before."""
    heard: Heard[T] = Heard(None, "unreadable", None)
    cost = Cost()
    for sample in samples:
        try:
            reply = await model.ask(messages, sample=sample, schema=schema, logprobs=logprobs)
        except RequestFailed as failure:
            return Heard(None, failure.reason, failure.detail, cost)
        cost = Cost.sum([cost, Cost.of(reply, model.settings.price)])
        # A reply that was cut off says nothing, whatever it quotes.
        value = None if reply.finish_reason == "length" else read(reply)
        if value is not None:
            return Heard(value, None, reply.text, cost)
        heard = Heard(None, "unreadable", reply.text, cost)
    return heard


def prompt_for(model: Model, kind: str, prompt: str, needs: Set[str], gives: Set[str]) -> PromptFile:
    """The prompt file of a judge. RecipeError where it wants what the judge has not, or leaves out what must be judged."""
    found, place = load_prompt(prompt), f"{judge_place(model.name)}.prompt"
    if unknown := found.inputs - gives:
        raise RecipeError(f"{place}: {prompt} wants {sorted(unknown)}; the {kind} judge gives {sorted(gives)}: take one")
    if missing := needs - found.inputs:
        raise RecipeError(
            f"{place}: {prompt} has the inputs {sorted(found.inputs)} and never shows {sorted(missing)}, which the {kind} judge "
            "must be told; name them in its `inputs` and its text"
        )
    return found


def json_in(text: str) -> Mapping[str, Any]:
    """The JSON object that a text holds, with whatever words around it; empty where it holds none."""
    start, end = text.find("{"), text.rfind("}")
    try:
        body = orjson.loads(text[start : end + 1]) if 0 <= start < end else None
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def criterion_for(criteria: Mapping[str, str], category: str | None) -> str | None:
    """The sentence on what counts for a category, or the one for all others."""
    return criteria.get(category or "default", criteria.get("default"))


def object_schema(properties: Mapping[str, Any], *, reason: bool) -> dict[str, Any]:
    """The JSON object that a judge replies with, where its engine honours a schema; a reason stands before what it is for."""
    held = {**({"reason": {"type": "string"}} if reason else {}), **properties}
    return {"type": "object", "properties": held, "required": list(held), "additionalProperties": False}
