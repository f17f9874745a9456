"""Generate: every model answers every prompt, K times. What fails is dropped by name, never made up."""

from collections.abc import Mapping, Sequence

from pipeline.errors import InputError, RequestFailed
from pipeline.model import Model, settle
from pipeline.records import Answer, Message, Prompt, content_id
from pipeline.tables import Dropped


async def generate(
    prompts: Sequence[Prompt], models: Mapping[str, Model], *, stop_on_long_prompt: bool = True
) -> tuple[list[Answer], list[Dropped]]:
    """Answers in the order prompt, model, sample; and what failed. len(prompts) x samples of all models = both together.

    Raises EngineError and BudgetSpent, after everything in flight has arrived; InputError for a prompt that is longer
    than a model's context, unless `stop_on_long_prompt` is off.
    """
    asked = [(p, name, k) for p in prompts for name, model in models.items() for k in range(model.settings.samples)]
    came = await settle(_answer(p, models[name], name, k) for p, name, k in asked)
    answers = [a for a in came if isinstance(a, Answer)]
    dropped = [d for d in came if isinstance(d, Dropped)]
    if stop_on_long_prompt and (long := next((d for d in dropped if d.reason == "context_length"), None)):
        text = next(p.question for p in prompts if p.id == long.prompt_id)[:60]
        raise InputError(
            f"the prompt {text!r}… ({long.prompt_id}) is longer than a model's context: {long.detail}; shorten or remove it, "
            "or set prompts.bad_rows: drop to leave such prompts out and count them"
        )
    return answers, dropped


async def _answer(prompt: Prompt, model: Model, name: str, sample: int) -> Answer | Dropped:
    answer_id = content_id(prompt.id, name, sample)
    try:
        reply = await model.ask(_messages(prompt, model.settings.system), sample=sample, prompt=prompt)
    except RequestFailed as failure:
        return Dropped("generate", failure.reason, answer_id, f"{name}: {failure.detail}", prompt.id)
    return Answer(
        answer_id,
        prompt.id,
        name,
        sample,
        reply.text.strip(),
        reply.finish_reason,
        reply.source,
        reply.score,
        reply.recorded_id,
    )


def _messages(prompt: Prompt, system: str | None) -> tuple[Message, ...]:
    if system is None:
        return prompt.messages
    turns = tuple(m for m in prompt.messages if m["role"] != "system")
    return ({"role": "system", "content": system}, *turns)
