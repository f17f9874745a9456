"""Small shards written by hand, for tests of the stages that work on columns."""

from collections.abc import Sequence

import pyarrow as pa

from pipeline.pair import Roster
from pipeline.records import Answer, Prompt, Verdict, content_id, prompt_id
from pipeline.tables import to_table


def prompt(text: str, **fields: object) -> Prompt:
    messages = ({"role": "user", "content": text},)
    return Prompt(prompt_id(messages), messages, **fields)  # type: ignore[arg-type]


def answer(to: Prompt, model: str, text: str, score: float | None = None, sample: int = 0, finish: str = "stop") -> Answer:
    return Answer(content_id(to.id, model, sample), to.id, model, sample, text, finish, score=score)


def scored(*scores: Sequence[float | None]) -> tuple[pa.Table, pa.Table]:
    """Prompt and answer tables: one prompt for each argument, one answer for each score in it, all texts different."""
    prompts = [prompt(f"prompt {p}") for p in range(len(scores))]
    answers = [answer(prompts[p], f"m{i}", f"text {p} {i}", s) for p, given in enumerate(scores) for i, s in enumerate(given)]
    return to_table(Prompt, prompts), to_table(Answer, answers)


def roster(**roles: str | None) -> Roster:
    return Roster({name: f"the {name}" for name in roles}, roles)


def verdict(comparison: str, choice: str, order: str = "AB", source: str = "llm", judge: str = "j", **scores: float) -> Verdict:
    return Verdict(comparison, "p", judge, order, choice, source, scores.get("a"), scores.get("b"))  # type: ignore[arg-type]
