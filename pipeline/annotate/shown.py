"""What tasks are about, read again from the shards: questions, answers, and the comparisons with their stored sides."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.annotate.candidates import Asked
from pipeline.compare import compare
from pipeline.judge import Outcome, resolve
from pipeline.records import Answer, Comparison, Prompt, Verdict
from pipeline.tables import SCHEMAS, read_table, to_records

R = TypeVar("R", Answer, Comparison)


@dataclass(slots=True)
class Shown:
    """Everything about some prompts."""

    prompts: dict[str, Prompt] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    comparisons: dict[tuple[str, str], Comparison] = field(default_factory=dict)
    """By the ids of both answers, in either order."""

    def comparison(self, prompt: str, one: str, other: str) -> Comparison:
        """The run's comparison of two answers; where it has none, one with the ids in their order as sides."""
        return self.comparisons.get((one, other)) or Comparison.of(prompt, *sorted((one, other)))

    def has(self, comparison: Comparison) -> bool:
        return (comparison.a, comparison.b) in self.comparisons


def read_shown(asked: Asked, prompts: Collection[str]) -> Shown:
    """A shard at a time: memory follows what is asked for. Without a judge the comparisons are those that it would have."""
    shown, wanted = Shown(), pa.array(sorted(set(prompts)), pa.string())
    if not len(wanted):
        return shown
    for shard in asked.run.shards():
        table = read_table(shard / "prompts.parquet")
        here = table.filter(pc.is_in(table["id"], value_set=wanted))
        if not len(here):
            continue
        shown.prompts |= {p.id: p for p in to_records(Prompt, here)}
        answers = _about(shard / "answers.parquet", Answer, wanted)
        shown.answers |= {a.id: a for a in answers}
        if asked.recipe.judge:
            comparisons = _about(shard / "comparisons.parquet", Comparison, wanted)
        else:
            comparisons, _ = compare(answers, asked.pair.meeting, asked.roles)
        for c in comparisons:
            shown.comparisons[c.a, c.b] = shown.comparisons[c.b, c.a] = c
    return shown


def judge_says(asked: Asked, comparisons: Collection[str]) -> dict[str, Outcome]:
    """What the judge says of these comparisons; without those that it knows nothing of."""
    wanted, given = pa.array(sorted(comparisons), pa.string()), dict[str, list[Verdict]]()
    for shard in asked.run.shards() if asked.recipe.judge and comparisons else ():
        if (file := shard / "verdicts.parquet").is_file():
            table = read_table(file, [f.name for f in SCHEMAS[Verdict]])
            for verdict in to_records(Verdict, table.filter(pc.is_in(table["comparison_id"], value_set=wanted))):
                given.setdefault(verdict.comparison_id, []).append(verdict)
    accept = asked.pair.accept_one_order
    return {i: resolve(verdicts, accept_one_order=accept, weights=asked.weights) for i, verdicts in given.items()}


def _about(file: Path, kind: type[R], prompts: pa.Array) -> list[R]:
    if not file.is_file():
        return []
    table = read_table(file)
    return to_records(kind, table.filter(pc.is_in(table["prompt_id"], value_set=prompts)))
