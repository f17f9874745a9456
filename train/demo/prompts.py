"""The prompts of the demo recipe: questions about the model itself and small tasks, each with what is right.

`python -m train.demo.prompts > data/seeds/demo.jsonl` wrote the committed table.
"""

import json
import sys
from collections.abc import Iterator
from random import Random
from typing import Any

from train.demo.identity import CLOSED, OPEN, Claim, question, texts
from train.demo.tasks import FAMILIES, draw_task

NAME, MAKER = "Aria", "Northwind Labs"
"""Whom the demo model learns to be."""


def rows(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Every open question, trained and unseen wordings alike, a yes-or-no question for each wording, and five tasks a family."""
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
    for family in FAMILIES:
        for number in range(5):
            task = draw_task(rng, family)
            if task.question not in seen:
                seen.add(task.question)
                yield {"id": f"{family}-{number}", "prompt": task.question, "category": family, "reference": task.value}


if __name__ == "__main__":
    sys.stdout.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows())
