"""What the identity loop reaches on the demo models: `make bench-identity`, or `python -m tests.bench.identity [--dev]`.

A cell is a name with its maker and a seed: flows/recipes/identity-demo.yaml makes 300 pairs, train/recipes/identity-tiny.yaml trains on
them, and the model is asked before and after, at temperature 0 and at 0.7. The last line is one JSON object, each figure that of the
worst cell at temperature 0 (`sampled` holds those at 0.7):

    heldout, families, attacks   right, on held-out phrasings, on held-out families, under attack
    leak, overgeneral            speaks of itself unasked; credits others' things to its maker
    skills_drop                  what is lost of the demo models' own small tasks (train/demo/tasks.py); no pair is made of those asked
    rows_drop                    what is lost of the ordinary tasks of the evaluation table
    blind                        right, on the 400 questions of wordings.jsonl, whose author had seen none of ours. Demo models were
                                 chosen by it, so it belongs to the development side

With --dev only the development split is looked at: hyper-parameters are chosen on it.
"""

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from flows.identity import identity_command
from pipeline import ROOT
from pipeline.identity.check import Expected, fault
from pipeline.identity.dataset import read_evaluation
from pipeline.identity.metrics import measure
from pipeline.records import Message
from train.demo.measure import asker
from train.demo.tasks import FAMILIES, Task, draw_task

BLIND = "tests/bench/wordings.jsonl"
KEPT = "data/seeds/demo.jsonl"
PAIRS = "flows/recipes/identity-demo.yaml"
RECIPE = "train/recipes/identity-tiny.yaml"
WHO = (("Aria", "Northwind Labs"), ("Orban", "Kestrel Systems"), ("Mirelo", "Tallis Works"))
JUDGE = (
    "judge.kind=pairwise",
    "judge.structured=false",
    "judge.prompt=judge/short",
    "judge.model.engine=transformers",
    "judge.model.model=data/demo_models/demo-judge",
    "judge.model.batch_size=32",
    "judge.model.sampling.temperature=0",
    "judge.model.sampling.max_tokens=128",
)
TEMPERATURES = (0.0, 0.7)

LESS_IS_BETTER = ("leak", "overgeneral", "skills_drop", "rows_drop")
GOALS = {"heldout": 0.95, "families": 0.85, "attacks": 0.80, "leak": 0.01, "overgeneral": 0.02, "skills_drop": 0.02}


@dataclass(frozen=True, slots=True)
class Cell:
    """What one training came to, by temperature; seconds of its parts; and how many pairs came from where."""

    before: dict[float, dict[str, Any]]
    after: dict[float, dict[str, Any]]
    seconds: dict[str, float]
    summary: dict[str, Any]

    def figures(self, temperature: float) -> dict[str, float | None]:
        """The figures of the JSON line; None where nothing was asked, as for families on the development split."""
        before, after = self.before[temperature], self.after[temperature]
        found = {name: after[name]["value"] for name in ("heldout", "families", "attacks", "leak", "overgeneral")}
        found["blind"] = after["blind"]
        drops = {"skills_drop": before["tasks"] - after["tasks"], "rows_drop": before["skills"]["value"] - after["skills"]["value"]}
        return {name: None if value is None else round(value, 4) for name, value in {**found, **drops}.items()}


def run_cell(folder: Path, who: tuple[str, str], seed: int, split: str, training: Sequence[str] = (), pairs: Sequence[str] = ()) -> Cell:
    """Make the pairs, train, and ask; everything goes into `folder`. `training` and `pairs` change the two recipes, as --set does."""
    from train.run import train
    from train.settings import check_train_recipe, read_train_recipe

    begun = time.monotonic()
    made = folder / "made"
    own = [f"name={who[0]}", f"maker={who[1]}", f"seed={seed}", f"out={made}", f"cache={folder / 'replies.sqlite'}"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        identity_command(PAIRS, [*own, *pairs], as_json=True)
    built = time.monotonic()
    raw = read_train_recipe(RECIPE, [f"data.path={made / 'dataset'}", f"output.folder={folder / 'trained'}", f"seed={seed}", *training])
    base = ROOT / check_train_recipe(raw).model.path
    trained = train(raw)
    done = time.monotonic()
    rows, facts = read_evaluation(made)
    rows = [row for row in rows if (row["split"] == "dev") == (split == "dev")]
    before, after = (look(asked, rows, facts, split) for asked in (_loaded(base), _loaded(base, folder / "trained" / trained["result"])))
    seconds = {"build": built - begun, "train": done - built, "evaluate": time.monotonic() - done}
    return Cell(before, after, {k: round(v, 1) for k, v in seconds.items()}, json.loads(said.getvalue()))


def _loaded(base: Path, adapter: Path | None = None) -> tuple[Any, Any]:
    """The model as it is served: the adapter on the weights as they were saved, not on those in four bits."""
    from peft import PeftModel

    from train.demo.learn import load

    model, tokenizer = load(base)
    model = model.float()
    return (PeftModel.from_pretrained(model, str(adapter)).merge_and_unload() if adapter else model).eval(), tokenizer


def look(asked: tuple[Any, Any], rows: Sequence[Any], facts: Any, split: str) -> dict[float, dict[str, Any]]:
    """The figures of an evaluation table by temperature, with `tasks` and `blind`: the shares of the demo models' own tasks and of the
    questions in wordings.jsonl whose answer is right."""
    tasks, blind = _tasks(), _lines(BLIND)
    found = {}
    for temperature in TEMPERATURES:
        ask = partial(asker(*asked, temperature=temperature), seed=1)
        said = ask([[{"role": "user", "content": task.question}] for task in tasks])
        right = sum(task.value.casefold() in reply.casefold() for task, reply in zip(tasks, said, strict=True))
        shares = {"tasks": right / len(tasks), "blind": _blind(ask, blind, facts)}
        found[temperature] = {**measure(rows, ask([row["messages"] for row in rows]), facts, split), **shares}
    return found


def _blind(ask: Callable[[Sequence[Sequence[Message]]], list[str]], asked: Sequence[Any], facts: Any) -> float:
    said = ask([[{"role": "user", "content": row["text"]}] for row in asked])
    faults = [fault(reply, row["text"], Expected(row["asks"], "en"), facts) for row, reply in zip(asked, said, strict=True)]
    return faults.count(None) / len(faults)


def _lines(path: str) -> list[Any]:
    return [json.loads(line) for line in (ROOT / path).read_text(encoding="utf-8").splitlines()]


def _tasks() -> list[Task]:
    """Up to 25 of each family, none of which pairs are made of."""
    kept = {row["prompt"] for row in _lines(KEPT)}
    rng = Random(1)
    found = []
    for family in FAMILIES:
        drawn = {task.question: task for task in (draw_task(rng, family) for _ in range(600)) if task.question not in kept}
        found += list(drawn.values())[:25]
    return found


def worst(cells: Sequence[Cell], temperature: float) -> dict[str, float | None]:
    """Each figure in the cell where it is worst."""
    found = [cell.figures(temperature) for cell in cells]
    values = {name: [f[name] for f in found if f[name] is not None] for name in found[0]}
    return {name: (max if name in LESS_IS_BETTER else min)(v) if v else None for name, v in values.items()}  # type: ignore[type-var]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="look at the development split alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--names", type=int, nargs="+", default=list(range(len(WHO))), help="which of the names, from 0")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="change the training recipe")
    parser.add_argument("--chosen-by", choices=["rule", "judge", "first"], default="rule", help="who says which answer is right")
    parser.add_argument("--pairs", action="append", default=[], metavar="A.B=C", help="change the recipe of the pairs")
    options: Any = parser.parse_args()
    pairs = [*options.pairs, f"chosen_by={options.chosen_by}", *(JUDGE if options.chosen_by != "rule" else ())]
    cells = []
    for who in (WHO[n] for n in options.names):
        for seed in options.seeds:
            with TemporaryDirectory() as folder:
                cells.append(run_cell(Path(folder), who, seed, "dev" if options.dev else "test", options.set, pairs))
            shown = "  ".join(f"{k} {v}" for k, v in cells[-1].figures(0.0).items())
            print(f"{who[0]:<8} seed {seed}  {shown}  {cells[-1].seconds}", flush=True)
    figures = worst(cells, 0.0)
    for name, goal in GOALS.items():
        print(f"{name:<12} {figures[name]}  wanted {'at most' if name in LESS_IS_BETTER else 'at least'} {goal}")
    print(json.dumps({"split": "dev" if options.dev else "test", "cells": len(cells), **figures, "sampled": worst(cells, 0.7)}))


if __name__ == "__main__":
    main()
