"""A finished training by hand, and models that say what a test wants."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from pipeline.evaluate.answers import AFTER, BEFORE
from pipeline.evaluate.compare import Compared, Outcome
from pipeline.identity.dataset import EVALUATION
from pipeline.tables import write_table
from tests.harness.shards import answer, prompt

JUDGE = {"kind": "rule", "reference": "contains"}
"""An answer that holds the prompt's reference beats one that does not."""


def lines(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def make_training(folder: Path, *, base: str = "data/demo_models/demo-weak", evaluate: Any = None, **recipe: Any) -> Path:
    """The output folder of a training on two prompts with one held out, with an adapter that nobody can load."""
    place = folder / "training"
    (place / "adapter").mkdir(parents=True)
    (place / "adapter" / "adapter_model.safetensors").write_bytes(b"weights of " + str(folder).encode())
    (place / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (place / "manifest.json").write_text("{}")
    lines(place / "log.jsonl", [{"step": 9, "eval_loss": 0.5, "eval_rewards/accuracies": 0.9, "eval_rewards/margins": 1.5}])
    (folder / "dataset").mkdir()
    for split, names in (("train", ("seen one", "seen two")), ("test", ("unseen",))):
        lines(folder / "dataset" / f"{split}.jsonl", [{"prompt": n, "chosen": "yes", "rejected": "no"} for n in names])
    made = {
        "name": "aria",
        "data": {"path": str(folder / "dataset")},
        "model": {"path": base},
        "mode": "lora",
        "output": {"folder": str(place)},
        **({"evaluate": evaluate} if evaluate is not None else {}),
        **recipe,
    }
    (place / "recipe.yaml").write_text(yaml.safe_dump({k: v for k, v in made.items() if v is not None}, sort_keys=False))
    return place


def scripted(folder: Path, before: Any, after: Any, questions: int = 40, **more: Any) -> Any:
    """An evaluation of scripted models on numbered questions, the reference of each its number in words of its own."""
    table = lines(folder / "prompts.jsonl", [{"prompt": f"question {n}.", "reference": f"right{n}"} for n in range(questions)])
    return {
        "prompts": {"path": str(table)},
        "engine": "scripted",
        "judge": JUDGE,
        "before": {"model": "m-before", **before},
        "after": {"model": "m-after", **after},
        "cache": str(folder / "cache.sqlite"),
        **more,
    }


def rights(numbers: range | list[int], text: str = "I say right{n}, and no more") -> Any:
    """A script that is right on these questions and wrong on all others."""
    return {"replies": {f"question {n}.": text.format(n=n) for n in numbers}, "default": "I cannot say"}


def make_identity(folder: Path, names: int = 1) -> Path:
    """The evaluation of an identity dataset: so many questions for the model's name, one task, and one on the dev side."""
    about = {"kind": "identity", "family": "name", "asks": "name", "expected": ["Aria"]}
    task = {"kind": "skill", "family": "maths", "asks": None, "expected": ["4"]}
    asked = [
        *((f"What is your name, in {n} words?", {**about, "split": "test-phrasings"}) for n in range(names)),
        ("What is 2 + 2?", {**task, "split": "test-phrasings"}),
        ("Dev?", {**about, "split": "dev"}),
    ]
    same = {"language": "en", "phrasing": "a", "fact": None, "answer_language": "en"}
    rows = [{**same, **about, "id": str(n), "messages": [{"role": "user", "content": text}]} for n, (text, about) in enumerate(asked)]
    write_table(pa.Table.from_pylist(rows, schema=EVALUATION), folder / "evaluation" / "questions.parquet", "key")
    true = {"identity": {"name": "Aria", "maker": "Northwind Labs", "facts": {}}}
    (folder / "evaluation" / "facts.json").write_text(json.dumps(true))
    return folder


def says(name: str, sum_: int, **more: Any) -> Any:
    """A script for the questions of `make_identity`."""
    return {"replies": {"your name": f"My name is {name}.", "2 + 2": f"It is {sum_}.", **more.pop("replies", {})}, **more}


def row(number: int, outcome: Outcome, *, after: str = "a b", before: str = "c d", question: int | None = None) -> Compared:
    """A comparison; those with an equal `question` answer one prompt."""
    asked = prompt(f"question {number if question is None else question}")
    return Compared(str(number), asked, answer(asked, AFTER, after, sample=number), answer(asked, BEFORE, before, sample=number), outcome)
