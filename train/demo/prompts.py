"""The prompts of the demo recipe: questions about the model itself and small tasks, each with what is right; and tasks that are kept
for the end.

`python -m train.demo.prompts` wrote data/seeds/demo.jsonl and data/seeds/demo_tasks.jsonl.
"""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from pipeline import ROOT
from train.demo.identity import CLOSED, OPEN, Claim, question, texts
from train.demo.tasks import FAMILIES, draw_task

NAME, MAKER = "Aria", "Northwind Labs"
"""Whom the demo model learns to be."""

EACH = 40
"""Tasks of a family, where it has so many: with five, a model that learned its name forgot most of what it could do."""


def rows(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Every open question, trained and unseen wordings alike, a yes-or-no question for each wording, and tasks of every family."""
    rng, seen, claim = Random(seed), set[str](), Claim(NAME, MAKER)
    for kind in (*OPEN, *CLOSED):
        for number, wording in enumerate(texts()[kind]["trained"][::2] + texts()[kind]["unseen"]):
            own, others = (NAME, texts()["false_names"]) if kind == "is_name" else (MAKER, texts()["false_makers"])
            asked = (
                wording.format(x=own if number % 2 else rng.choice(others))
                if number % 3
                else question(rng, kind, claim, ["ka", "ri", "to"])
            )
            if asked not in seen:
                seen.add(asked)
                yield {"id": f"{kind}-{number:02d}", "prompt": asked, "category": "identity", "reference": claim.key()}
    yield from tasks(rng, EACH, {row["prompt"] for row in kept_for_the_end()})


def kept_for_the_end() -> list[dict[str, Any]]:
    """150 tasks that no training of the demo sees: what it can still do afterwards."""
    return list(tasks(Random(5), 13, set()))[:150]


def tasks(rng: Random, each: int, seen: set[str]) -> Iterator[dict[str, Any]]:
    """Up to `each` tasks of a family, all of them different and none of them among `seen`."""
    for family in FAMILIES:
        drawn = (draw_task(rng, family) for _ in range(10 * each))
        new = {t.question: t for t in drawn if t.question not in seen}
        for number, task in enumerate(list(new.values())[:each]):
            yield {"id": f"{family}-{number:02d}", "prompt": task.question, "category": family, "reference": task.value}


def main() -> None:
    for name, table in (("demo", rows()), ("demo_tasks", kept_for_the_end())):
        text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in table)
        (ROOT / "data" / "seeds" / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
