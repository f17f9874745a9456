"""The work of `overhead` done by distilabel 1.5.3, in an environment of its own: its process has none of ours but the prompts.

    .venv-distilabel/bin/python -m tests.bench.distilabel_run URL PROMPTS BATCH

Two OpenAILLMs answer, two judge steps see the answers in either order, each as a TextGeneration task. distilabel sends a
batch of a step at once, so BATCH is its concurrency by step; at most that of all four steps is in flight.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import GroupColumns, LoadDataFromDicts, StepInput, step
from distilabel.steps.tasks import TextGeneration

from pipeline.prompts import load_prompt
from tests.bench.measure import read_prompts


def task(name: str, model: str, url: str, batch: int, **mappings: dict[str, str]) -> TextGeneration:
    llm = OpenAILLM(model=model, base_url=url, api_key="none", generation_kwargs={"temperature": 0.7, "max_new_tokens": 256})
    return TextGeneration(name=name, llm=llm, input_batch_size=batch, **mappings)


@step(inputs=["instruction", "answers"], outputs=["ab", "ba"])
def ask_judge(inputs: StepInput) -> Any:
    """The words that the judge is asked with, in both orders."""
    prompt = load_prompt("judge/pairwise")
    for row in inputs:
        first, second = row["answers"]
        for order, shown in (("ab", (first, second)), ("ba", (second, first))):
            given = {"question": row["instruction"], "answer_1": shown[0], "answer_2": shown[1]}
            turns = prompt.render(**given, reference=None, criterion=None, structured=False, reason=True)
            row[order] = "\n\n".join(turn["content"] for turn in turns)
    yield inputs


def build(url: str, prompts: Path, batch: int, cache: str) -> Pipeline:
    rows = [{"instruction": text} for text in read_prompts(prompts)]
    with Pipeline(name="overhead", cache_dir=cache) as pipeline:
        # All rows at once: with this step's own batches at BATCH, small ones took a third longer.
        load = LoadDataFromDicts(data=rows, batch_size=len(rows))
        strong, weak = (task(name, name, url, batch) for name in ("strong", "weak"))
        group = GroupColumns(columns=["generation"], output_columns=["answers"], input_batch_size=batch)
        render = ask_judge(name="render", input_batch_size=batch)
        judges = [
            task(f"judge_{o}", "judge", url, batch, input_mappings={"instruction": o}, output_mappings={"generation": f"verdict_{o}"})
            for o in ("ab", "ba")
        ]
        load >> [strong, weak] >> group >> render >> judges
    return pipeline


def main() -> None:
    url, prompts, batch = sys.argv[1:]
    # Even with use_cache=False, the batch size of an earlier run with the same cache would be used instead of BATCH.
    with tempfile.TemporaryDirectory() as cache:
        rows = build(url, Path(prompts), int(batch), cache).run(use_cache=False)
    print({name: len(split["train"]) for name, split in rows.items()})


if __name__ == "__main__":
    main()
