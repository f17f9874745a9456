"""What models say to the questions: the strong one under a system prompt with the facts, the one to be trained under none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import RequestFailed
from pipeline.identity.answers import Replies
from pipeline.identity.facts import Facts
from pipeline.identity.questions import Question
from pipeline.identity.words import language
from pipeline.model import Model, settle
from pipeline.prompts import load_prompt
from pipeline.records import Message


@dataclass(slots=True)
class Asked:
    """What came back, by question; and how many requests failed, by reason."""

    replies: dict[str, Replies] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)


async def ask(questions: Sequence[Question], facts: Facts, strong: Model | None, model: Model | None) -> Asked:
    """Ask both models, one after the other: a machine may hold only one. Raises EngineError and BudgetSpent."""
    asked = Asked()
    strongly = await _ask_all(strong, {q.id: told(q, facts) for q in questions}, asked) if strong else {}
    plainly = await _ask_all(model, {q.id: q.messages for q in questions}, asked) if model else {}
    asked.replies = {q.id: Replies(strongly.get(q.id, ()), plainly.get(q.id, ())) for q in questions}
    return asked


def told(question: Question, facts: Facts) -> tuple[Message, ...]:
    """The question under the system prompt that says who is asked."""
    expected = question.expected
    spoken = language(expected.language if expected else question.language).language
    system, last = load_prompt("identity/system").render(
        name=facts.name, maker=facts.maker, facts=dict(facts.more), language=spoken, question=question.messages[-1]["content"]
    )
    return (system, *question.messages[:-1], last)


async def _ask_all(model: Model, questions: Mapping[str, Sequence[Message]], asked: Asked) -> dict[str, tuple[str, ...]]:
    """Every sample of every question; an answer that was cut off is none."""

    async def one(messages: Sequence[Message], sample: int) -> str | None:
        try:
            reply = await model.ask(messages, sample=sample)
        except RequestFailed as failure:
            asked.failed[failure.reason] = asked.failed.get(failure.reason, 0) + 1
            return None
        return None if reply.finish_reason == "length" else reply.text.strip()

    samples = model.settings.samples
    try:
        came = await settle(one(messages, k) for messages in questions.values() for k in range(samples))
    finally:
        await model.close()
    by_question = {id_: came[n * samples : (n + 1) * samples] for n, id_ in enumerate(questions)}
    return {id_: tuple(text for text in dict.fromkeys(texts) if text) for id_, texts in by_question.items()}
