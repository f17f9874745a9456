"""The stages on files: what a shard's stage reads, what it depends on, what it writes. The verbs themselves know no files.

Every table carries the key of what it was made of: settings, prompt files, revisions, and the key of its input. A stage
whose table has the right key is done and is skipped; so a changed judge redoes verdicts and pairs, and no answers. What people
decided is part of the key of the pairs, in the shards whose prompts they decided and in no other.
"""

import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa

from pipeline.annotate.overrule import overrule, people_alone
from pipeline.annotate.people import People
from pipeline.annotate.rewritten import in_order, rewritten, without
from pipeline.collect import collect
from pipeline.compare import compare
from pipeline.errors import TRANSIENT, InputError
from pipeline.gate import gate, standing_gates
from pipeline.generate import generate
from pipeline.judge import judge_all, resolve
from pipeline.pair import Judged, Roster, pair
from pipeline.records import Answer, Comparison, Prompt, Verdict
from pipeline.runs import code_digest
from pipeline.session import Session
from pipeline.settings import digest, judge_what
from pipeline.tables import SCHEMAS, Dropped, key_of, read_table, to_records, to_table, write_table

Stage = Literal["answers", "verdicts", "pairs"]

STAGES: tuple[Stage, ...] = ("answers", "verdicts", "pairs")
"""Of a shard, in the order data flows. A run without a judge has no verdicts."""


def collect_shards(session: Session) -> int:
    """Read the prompt table and write its shards; the number of shards. Shards that stay as they were are not touched."""
    recipe, run = session.recipe, session.run
    dropped: list[Dropped] = []
    prompts = (p for p in collect(recipe.prompts, recipe.split) if not _set_aside(p, dropped))
    count = session.prompts = 0
    while batch := list(islice(prompts, recipe.run.shard)):
        path = run.shard(count) / "prompts.parquet"
        key = digest([code_digest(), orjson.dumps(batch).decode()])
        if key_of(path) != key:
            write_table(to_table(Prompt, batch), path, key)
        count += 1
        session.prompts += len(batch)
    if not count:
        raise InputError(f"{recipe.prompts.path} holds no prompts ({len(dropped)} rows were dropped); give a table with at least one")
    for stale in run.shards()[count:]:
        shutil.rmtree(stale)
    write_table(to_table(Dropped, dropped), run.path / "collect.dropped.parquet", digest(code_digest()))
    return count


def _set_aside(row: Prompt | Dropped, dropped: list[Dropped]) -> bool:
    if isinstance(row, Dropped):
        dropped.append(row)
    return isinstance(row, Dropped)


def ask_ahead(session: Session, name: str, shard: int) -> None:
    """Let one model answer a shard's prompts, into the reply cache alone: the stage proper then finds every reply there."""
    if not is_done(session, "answers", shard):
        prompts = to_records(Prompt, read_table(_path(session, "prompts", shard)))
        session.wait(generate(prompts, {name: session.models[name]}, stop_on_long_prompt=session.recipe.prompts.bad_rows == "stop"))


def stages_of(session: Session) -> tuple[Stage, ...]:
    return STAGES if session.judge is not None else ("answers", "pairs")


def is_done(session: Session, stage: Stage, shard: int) -> bool:
    """Whether a shard's stage has nothing left to do."""
    return key_of(_path(session, stage, shard)) == _key(session, stage, shard)


def run_stage(session: Session, stage: Stage, shard: int) -> None:
    """Do one stage of one shard, unless it is done."""
    if not is_done(session, stage, shard):
        _WORK[stage](session, shard, _key(session, stage, shard))
    session.done[stage] += 1


def _path(session: Session, table: str, shard: int) -> Path:
    return session.run.shard(shard) / f"{table}.parquet"


def _key(session: Session, stage: Stage, shard: int) -> str:
    before = {"answers": "prompts", "verdicts": "answers", "pairs": "verdicts" if session.judge else "answers"}[stage]
    if stage not in session.digests:
        session.digests[stage] = digest(_depends_on(session, stage))
    people = [key] if stage == "pairs" and (key := _people(session, shard).key()) else []
    return digest([code_digest(), stage, key_of(_path(session, before, shard)), session.digests[stage], *people])


def _people(session: Session, shard: int) -> People:
    """What people said of a shard's prompts."""
    said, path = session.people, _path(session, "prompts", shard)
    if shard not in said.shards:
        said.shards[shard] = said.all.about(read_table(path, ["id"])["id"].to_pylist()) if said.all and path.is_file() else People()
    return said.shards[shard]


def _depends_on(session: Session, stage: Stage) -> Any:
    what = session.recipe.what()
    if stage == "answers":
        return [what["models"], {n: m.revision() for n, m in session.models.items()}, session.recipe.prompts.bad_rows]
    if stage == "verdicts":
        assert session.judge is not None
        return [judge_what(session.recipe.judge or {}), session.judge.revision(), session.pair_settings.meeting, session.roles]
    gates = {name: settings.model_dump() for name, settings in standing_gates(session.recipe.gates).items()}
    return [session.pair_settings.model_dump(), gates, list(gates), session.recipe.seed, session.labels, session.roles]


def _answers(session: Session, shard: int, key: str) -> None:
    prompts = to_records(Prompt, read_table(_path(session, "prompts", shard)))
    stop = session.recipe.prompts.bad_rows == "stop"
    answers, dropped = session.wait(generate(prompts, session.models, stop_on_long_prompt=stop))
    _write(session, shard, "answers", to_table(Answer, answers), dropped, _unless_failed(key, ((d.id, d.reason) for d in dropped)))


def _verdicts(session: Session, shard: int, key: str) -> None:
    assert session.judge is not None
    judge = session.judge
    prompts = {p.id: p for p in to_records(Prompt, read_table(_path(session, "prompts", shard)))}
    answers = to_records(Answer, read_table(_path(session, "answers", shard)))
    comparisons, dropped = compare(answers, session.pair_settings.meeting, session.roles)
    by_id = {a.id: a for a in answers}
    verdicts, unjudged = session.wait(judge_all(prompts, by_id, comparisons, judge))
    write_table(to_table(Comparison, comparisons), _path(session, "comparisons", shard), key)
    done = _unless_failed(key, ((f"{v.comparison_id}{v.order or ''}", v.reason) for v in verdicts))
    _write(session, shard, "verdicts", to_table(Verdict, verdicts), [*dropped, *unjudged], done)


def _pairs(session: Session, shard: int, key: str) -> None:
    prompts = read_table(_path(session, "prompts", shard))
    answers = read_table(_path(session, "answers", shard))
    people = _people(session, shard)
    edited = rewritten(prompts, answers, people.rewrites, session.labels)
    made, refused = pair(
        without(prompts, "id", edited.prompts),
        without(answers, "prompt_id", edited.prompts),
        _judged(session, shard, people, answers, edited.prompts),
        session.strategy,
        session.pair_settings,
        Roster(session.labels, session.roles),
        session.recipe.seed,
    )
    if people.rewrites:
        made = in_order(prompts, pa.concat_tables([made, edited.pairs]))
        refused = in_order(prompts, pa.concat_tables([refused, edited.dropped]))
    kept, stopped, reasons = gate(made, standing_gates(session.recipe.gates))
    gated = _gated(stopped, reasons)
    _write(session, shard, "pairs", kept, pa.concat_tables([refused, gated]), key)


def _judged(session: Session, shard: int, people: People, answers: pa.Table, rewritten: Collection[str]) -> Judged | None:
    """What the judge and people say together of the prompts that nobody rewrote."""
    answers = without(answers, "prompt_id", rewritten)
    if session.judge is None:
        return people_alone(people.says, answers)
    accept, weights = session.pair_settings.accept_one_order, getattr(session.judge, "weights", None)
    given: dict[str, list[Verdict]] = {}
    for verdict in to_records(Verdict, read_table(_path(session, "verdicts", shard))):
        given.setdefault(verdict.comparison_id, []).append(verdict)
    outcomes = {i: resolve(verdicts, accept_one_order=accept, weights=weights) for i, verdicts in given.items()}
    comparisons = without(read_table(_path(session, "comparisons", shard)), "prompt_id", rewritten)
    return overrule(comparisons, outcomes, people.says, answers)


def _gated(stopped: pa.Table, reasons: Sequence[str]) -> pa.Table:
    detail = [f"{c[:60]!r} over {r[:60]!r}" for c, r in zip(stopped["chosen"].to_pylist(), stopped["rejected"].to_pylist(), strict=True)]
    ids = stopped["prompt_id"]
    columns = [pa.array(["gate"] * len(stopped), pa.string()), pa.array(reasons, pa.string()), ids, pa.array(detail, pa.string()), ids]
    return pa.table(columns, schema=SCHEMAS[Dropped])


def _unless_failed(key: str, rows: Iterable[tuple[str, str | None]]) -> str:
    """The key of a whole table; another where something failed that may succeed next time, so that it is tried again."""
    failed = [row_id for row_id, reason in rows if reason in TRANSIENT]
    return f"{key} without {digest(failed)}" if failed else key


def _write(session: Session, shard: int, stage: Stage, table: pa.Table, dropped: "pa.Table | Sequence[Dropped]", key: str) -> None:
    # The table that carries the stage's key is written last: what it promises is there when it is.
    gone = dropped if isinstance(dropped, pa.Table) else to_table(Dropped, dropped)
    write_table(gone, _path(session, f"{stage}.dropped", shard), key)
    write_table(table, _path(session, stage, shard), key)


_WORK: dict[Stage, Callable[[Session, int, str], None]] = {"answers": _answers, "verdicts": _verdicts, "pairs": _pairs}
