"""What models say to the questions: the strong one under a system prompt with the facts, the one to be trained under none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import RequestFailed
from pipeline.identity.answers import Replies, is_right
from pipeline.identity.facts import Facts
from pipeline.identity.questions import Question
from pipeline.identity.words import language
from pipeline.model import Model, settle
from pipeline.prompts import load_prompt
from pipeline.records import Message

LONG, SHORT = "identity/system", "identity/system_short"
"""Prompts that tell a model who it is: with every rule of ours, and in one line."""


@dataclass(slots=True)
class Asked:
    """What came back, by question; and how many requests failed, by reason."""

    replies: dict[str, Replies] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)


async def ask(questions: Sequence[Question], facts: Facts, strong: Model | None, model: Model | None) -> Asked:
    """Ask both models, one after the other: a machine may hold only one. Raises EngineError and BudgetSpent.

    The strong one is asked about itself; the one to be trained about everything. What the strong one answers wrongly under the
    long system prompt it is asked once more under the short one: a tiny model loses in three paragraphs what it reads in a line.
    A `system` message in a model's settings stands in place of any other.
    """
    asked, replies = Asked(), {q.id: Replies() for q in questions}
    own, others = [q for q in questions if q.expected], [q for q in questions if not q.expected]
    if strong:
        try:
            said = await _ask_all(strong, {q.id: told(q, facts) for q in own}, asked)
            missed = [q for q in own if strong.settings.system is None and not any(is_right(q, text, facts) for text in said[q.id])]
            again = await _ask_all(strong, {q.id: told(q, facts, SHORT) for q in missed}, asked)
        finally:
            await strong.close()
        replies |= {q.id: Replies((*said[q.id], *again.get(q.id, ()))) for q in own}
    if model:
        try:
            said = await _ask_all(model, {q.id: q.messages for q in own}, asked)
            # One answer shows what it can.
            said |= await _ask_all(model, {q.id: q.messages for q in others}, asked, samples=1)
        finally:
            await model.close()
        replies = {id_: Replies(given.strong, said[id_]) for id_, given in replies.items()}
    asked.replies = replies
    return asked


def told(question: Question, facts: Facts, prompt: str = LONG) -> tuple[Message, ...]:
    """The question under a system prompt that says who is asked."""
    expected = question.expected
    spoken = language(expected.language if expected else question.language).language
    given = {"name": facts.name, "maker": facts.maker, "facts": dict(facts.more), "language": spoken, "in_full": question.in_full}
    system, last = load_prompt(prompt).render(**given, question=question.messages[-1]["content"])
    return (system, *question.messages[:-1], last)


def under(system: str | None, messages: Sequence[Message]) -> Sequence[Message]:
    """The messages under another system message, if there is one."""
    if system is None:
        return messages
    return (Message(role="system", content=system), *(m for m in messages if m["role"] != "system"))


async def _ask_all(
    model: Model, questions: Mapping[str, Sequence[Message]], asked: Asked, *, samples: int | None = None
) -> dict[str, tuple[str, ...]]:
    """Every sample of every question; an answer that was cut off is none."""

    async def one(messages: Sequence[Message], sample: int) -> str | None:
        try:
            reply = await model.ask(under(model.settings.system, messages), sample=sample)
        except RequestFailed as failure:
            asked.failed[failure.reason] = asked.failed.get(failure.reason, 0) + 1
            return None
        return None if reply.finish_reason == "length" else reply.text.strip()

    samples = samples or model.settings.samples
    came = await settle(one(messages, k) for messages in questions.values() for k in range(samples))
    by_question = {id_: came[n * samples : (n + 1) * samples] for n, id_ in enumerate(questions)}
    return {id_: tuple(text for text in dict.fromkeys(texts) if text) for id_, texts in by_question.items()}
