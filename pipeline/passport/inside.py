"""The verdicts of our run folders, people's among them: with models, lengths and categories; and shard by shard for figures that
need no people."""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.annotate.ledger import folder
from pipeline.errors import RunError
from pipeline.passport.estimate import Floats
from pipeline.passport.verdicts import COSTS, Collector, Row, Side, Verdicts
from pipeline.runs import Run
from pipeline.tables import read_table

WANTED = ("comparison_id", "judge", "order", "choice", "source", *COSTS)


def read_run(run: Run, into: Collector, by: str | None) -> set[str]:
    """Add a run's verdicts, a shard at a time, and those of the people it asked; returns the columns that `by` may name. Raises
    RunError where it has none."""
    shards, people = _judged(run), _people(run)
    for shard in shards:
        sides = _sides(shard, by)
        place = f"{run.path.name} shard {shard.name}"
        for said in chain(_columns(shard / "verdicts.parquet"), (said for i in sides for said in people.get(i, ()))):
            models, lengths, group = sides[said[0]]
            into.add(_row(place, said, into, models, lengths, group))
    return {"category"}


def shard_verdicts(run: Run, without: Collection[str] = frozenset()) -> Iterator[Verdicts]:
    """The verdicts of each shard on their own: enough for everything that is counted within a comparison; `without` some."""
    for shard in _judged(run):
        collector = Collector()
        for said in _columns(shard / "verdicts.parquet"):
            if said[0] not in without:
                collector.add(_row(shard.name, said, collector))
        if collector.items:
            yield collector.verdicts()


def verdicts_beside_people(run: Run, only: Collection[str] | None = None) -> Verdicts | None:
    """All verdicts on the comparisons that people of this run labelled, or on some of these; None where there are none."""
    people = {i: said for i, said in _people(run).items() if only is None or i in only}
    collector = Collector()
    for shard in _judged(run) if people else []:
        judged = [said for said in _columns(shard / "verdicts.parquet") if said[0] in people]
        for said in chain(judged, (said for i in sorted({said[0] for said in judged}) for said in people[i])):
            collector.add(_row(shard.name, said, collector))
    return collector.verdicts() if collector.items else None


_Costs = tuple[float, float, float]

_Said = tuple[str, str, Any, str, str, _Costs]
"""Comparison, judge, order, choice, source, costs."""


def _people(run: Run) -> dict[str, list[_Said]]:
    """What people said, by comparison."""
    file, found = folder(run) / "verdicts.parquet", dict[str, list[_Said]]()
    for said in _columns(file) if file.is_file() else ():
        found.setdefault(said[0], []).append(said)
    return found


def _row(place: str, said: _Said, into: Collector, models: Side = (None, None), lengths: Any = (np.nan, np.nan), group: Any = None) -> Row:
    comparison, judge, order, choice, source, costs = said
    person, known = source == "human", into.judges.get(judge)
    if person and known is not None and not into.persons[known]:
        judge = f"{judge} (a person)"  # two who happen to have one name
    return Row(place, comparison, judge, person, choice, order, (None, None), models, lengths, group, costs)


def _judged(run: Run) -> list[Path]:
    run.recipe()
    shards = [s for s in run.shards() if (s / "verdicts.parquet").is_file()]
    if not shards:
        raise RunError(f"{run.path} holds no verdicts; give a run whose recipe has a judge, and build it first")
    return shards


def _columns(file: Path) -> Iterator[_Said]:
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
