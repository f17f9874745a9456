"""The verdicts of our run folders: with models, lengths and categories, and shard by shard for figures that need no people."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import RunError
from pipeline.passport.estimate import Floats
from pipeline.passport.verdicts import COSTS, Collector, Row, Verdicts
from pipeline.runs import Run
from pipeline.tables import read_table

WANTED = ("comparison_id", "judge", "order", "choice", "source", *COSTS)


def read_run(run: Run, into: Collector, by: str | None) -> set[str]:
    """Add a run's verdicts, a shard at a time; returns the columns that `by` may name. Raises RunError where it has none."""
    shards = _judged(run)
    for shard in shards:
        sides = _sides(shard, by)
        verdicts = _columns(shard)
        place = f"{run.path.name} shard {shard.name}"
        for comparison, judge, order, choice, source, costs in verdicts:
            models, lengths, group = sides[comparison]
            into.add(Row(place, comparison, judge, source == "human", choice, order, (None, None), models, lengths, group, costs))
    return {"category"}


def shard_verdicts(run: Run) -> Iterator[Verdicts]:
    """The verdicts of each shard on their own: enough for everything that is counted within a comparison."""
    for shard in _judged(run):
        collector = Collector()
        for comparison, judge, order, choice, source, costs in _columns(shard):
            collector.add(Row(shard.name, comparison, judge, source == "human", choice, order, costs=costs))
        if collector.items:
            yield collector.verdicts()


def _judged(run: Run) -> list[Path]:
    run.recipe()
    shards = [s for s in run.shards() if (s / "verdicts.parquet").is_file()]
    if not shards:
        raise RunError(f"{run.path} holds no verdicts; give a run whose recipe has a judge, and build it first")
    return shards


def _columns(shard: Path) -> Iterator[tuple[str, str, Any, str, str, tuple[float, float, float]]]:
    file = shard / "verdicts.parquet"
    table = read_table(file, [c for c in WANTED if c in pq.read_schema(file).names])
    costs = np.stack([_numbers(table, c) for c in COSTS], axis=1)
    texts = [table[c].to_pylist() for c in WANTED[:5]]
    for row, cost in zip(zip(*texts, strict=True), costs.tolist(), strict=True):
        yield (*row, tuple(cost))


def _numbers(table: pa.Table, column: str) -> Floats:
    if column not in table.column_names:
        return np.full(len(table), np.nan)
    return np.asarray(table[column].cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


Sides = tuple[tuple[str, str], tuple[float, float], str | None]


def _sides(shard: Path, by: str | None) -> dict[str, Sides]:
    """Of each comparison: the models and the lengths of its two answers, and the prompt's category."""
    answers = read_table(shard / "answers.parquet", ["id", "model", "text"])
    lengths = pc.utf8_length(answers["text"]).to_pylist()
    known = dict(zip(answers["id"].to_pylist(), zip(answers["model"].to_pylist(), lengths, strict=True), strict=True))
    prompts: dict[str, str | None] = {}
    if by == "category":
        table = read_table(shard / "prompts.parquet", ["id", "category"])
        prompts = dict(zip(table["id"].to_pylist(), table["category"].to_pylist(), strict=True))
    comparisons = read_table(shard / "comparisons.parquet").to_pylist()
    return {c["id"]: _side(known[c["a"]], known[c["b"]], prompts.get(c["prompt_id"])) for c in comparisons}


def _side(a: Sequence[Any], b: Sequence[Any], group: str | None) -> Sides:
    return (a[0], b[0]), (float(a[1]), float(b[1])), group
