"""The prompts of the demo recipe: questions about the model itself and small tasks, each with what is right; and those of both that
are kept for the end.

`python -m train.demo.prompts` wrote demo.jsonl, demo_tasks.jsonl and demo_questions.jsonl in data/seeds.
"""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from pipeline import ROOT
from pipeline.records import Message, prompt_cluster
from train.demo.identity import CLOSED, OPEN, Claim, texts
from train.demo.tasks import FAMILIES, Task, draw_task

NAME, MAKER = "Aria", "Northwind Labs"
"""Whom the demo model learns to be."""

EACH = 40
"""Tasks of a family, where it has so many: with five, a model that learned its name forgot most of what it could do."""


def rows(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Every other wording of the questions about itself, and tasks of every family."""
    rng, seen, claim = Random(seed), set[str](), Claim(NAME, MAKER)
    for kind in (*OPEN, *CLOSED):
        for number, wording in enumerate(texts()[kind]["trained"][::2] + texts()[kind]["unseen"]):
            own, others = _who(kind)
            asked = wording.format(x=own if number % 2 else rng.choice(others))
            if number % 3 == 0:
                asked = f"{rng.choice(texts()['before'])}{asked}{rng.choice(texts()['after'])}"
            if asked not in seen:
                seen.add(asked)
                yield {"id": f"{kind}-{number:02d}", "prompt": asked, "category": "identity", "reference": claim.key()}
    for family in FAMILIES:
        yield from _rows_of(family, [t for t in _tasks(family) if not _is_kept(t)][:EACH])


def tasks() -> Iterator[dict[str, Any]]:
    """Tasks that no pair of the demo is made of: what the model can still do afterwards. With a third of them, chance alone decided
    whether it had lost two points."""
    for family in FAMILIES:
        yield from _rows_of(family, [t for t in _tasks(family) if _is_kept(t)][:EACH])


def questions() -> Iterator[dict[str, Any]]:
    """Questions about itself in wordings that no pair of the demo has."""
    rng, pairs, key = Random(5), {prompt_cluster(_asked(row["prompt"])) for row in rows()}, Claim(NAME, MAKER).key()
    for kind in (*OPEN, *CLOSED):
        own, others = _who(kind)
        for number, wording in enumerate(texts()[kind]["trained"][1::2]):
            asked = dict.fromkeys(wording.format(x=own if k == 0 else rng.choice(others)) for k in range(3))
            new = [text for text in asked if prompt_cluster(_asked(text)) not in pairs]
            yield from (
                {"id": f"{kind}-{number:02d}-{k}", "prompt": q, "category": "identity", "reference": key} for k, q in enumerate(new)
            )


def _who(kind: str) -> tuple[str, list[str]]:
    """What "are you X?" may be asked with: what is true, and what is not."""
    return (NAME, texts()["false_names"]) if kind == "is_name" else (MAKER, texts()["false_makers"])


def _asked(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def _tasks(family: str) -> list[Task]:
    """All that 600 draws find, in the order in which they come."""
    rng = Random(f"demo {family}")
    return list({t.question: t for t in (draw_task(rng, family) for _ in range(600))}.values())


def _is_kept(task: Task) -> bool:
    """A quarter is kept for the end, by a hash of the question: of a family that has a dozen, three."""
    return int(prompt_cluster(_asked(task.question))[:8], 16) % 4 == 0


def _rows_of(family: str, drawn: list[Task]) -> Iterator[dict[str, Any]]:
    for number, task in enumerate(drawn):
        yield {"id": f"{family}-{number:02d}", "prompt": task.question, "category": family, "reference": task.value}


def main() -> None:
    for name, table in (("demo", rows()), ("demo_tasks", tasks()), ("demo_questions", questions())):
        text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in table)
        (ROOT / "data" / "seeds" / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
