"""Small trainings: recipes over made-up rows and the tiny model of random weights."""

from pathlib import Path
from typing import Any

import orjson

COLOURS = ("red", "green", "blue", "black", "white", "brown", "grey", "pink")
THINGS = ("sky", "sea", "sun", "sand", "snow")


def make_rows(count: int = 24) -> list[dict[str, Any]]:
    """Pairs about colours of things; each prompt is its own."""
    names = [(c, t) for t in THINGS for c in COLOURS][:count]
    return [
        {"prompt": f"Is the {thing} {colour}?", "chosen": f"Yes, the {thing} is {colour}.", "rejected": f"No, never {colour}."}
        for colour, thing in names
    ]


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return file


def as_messages(row: dict[str, Any]) -> dict[str, Any]:
    """The row in conversational form."""
    answers = {name: [{"role": "assistant", "content": row[name]}] for name in ("chosen", "rejected")}
    return {"prompt": [{"role": "user", "content": row["prompt"]}], **answers}


def make_recipe(folder: Path, model: Path, **changes: Any) -> dict[str, Any]:
    """A recipe of three steps on 24 rows, a quarter of them held out; `changes` replace whole sections but for `trainer`."""
    data = folder / "rows.jsonl"
    if not data.exists():
        write_rows(data, [as_messages(row) for row in make_rows()])
    trainer = {"max_steps": 3, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "max_length": 128, "logging_steps": 1}
    return {
        "name": "small",
        "data": {"path": str(data), "test_share": 0.25},
        "model": {"path": str(model), "attention": "eager"},
        "adapter": {"rank": 4, "alpha": 8},
        "stop": {"evaluations": 1},
        "output": {"folder": str(folder / "out"), "samples": 0},
        **changes,
        "trainer": {**trainer, **changes.get("trainer", {})},
    }
