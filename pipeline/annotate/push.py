"""Push: what is worth a person goes out. The ledger knows a task before the backend does, so that nothing is sent twice.

Whatever happens in between, the next push sends all that the ledger holds as chosen and not as sent; a task that the
backend knows already is replaced there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.annotate.blind import as_shown
from pipeline.annotate.candidates import Asked, asked_of, units_in
from pipeline.annotate.forms import fields_of, form_of
from pipeline.annotate.ledger import Sent, read_ledger, write_ledger
from pipeline.annotate.people import texts_key
from pipeline.annotate.worth import choose
from pipeline.annotation import Form, Task, Value
from pipeline.backends import Backend
from pipeline.records import Prompt
from pipeline.runs import Run
from pipeline.tables import read_table, to_records

BATCH = 200
"""Tasks whose texts are in memory at once."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did."""

    day: str
    chosen: Mapping[str, int] = field(default_factory=dict)
    """Tasks chosen now, by what made them worth a person."""
    sent: Mapping[str, int] = field(default_factory=dict)
    """Tasks that the backend has taken now, by dataset."""
    again: int = 0
    """Of them, those that were chosen before: by a push that was interrupted, or for an adjudication."""
    gone: int = 0
    """Tasks that cannot be sent, since the run no longer holds their texts."""
    left: int = 0
    """Candidates that were never chosen: the next days'."""


def push(run: Run, backend: Backend, *, day: str | None = None) -> Pushed:
    """Choose tasks for a day (a UTC date; today when left out) and send them, and what earlier pushes left.

    Raises BackendAway, after which the same call goes on; RecipeError and RunError where there is nothing to ask.
    """
    asked = asked_of(run)
    today = day or datetime.now(UTC).date().isoformat()
    before = read_ledger(run)
    choice = choose(asked, before, today)
    ledger = choice.before + choice.new
    if ledger != before:
        write_ledger(run, ledger)
    counts: dict[str, int] = {}
    for row in choice.new:
        counts[row.why] = counts.get(row.why, 0) + 1
    waiting = [row for row in ledger if row.state == "chosen"]
    sent = _send(asked, backend, ledger, waiting)
    again = len({row.id for row in sent} - {row.id for row in choice.new})
    return Pushed(today, counts, _by_dataset(sent), again, len(waiting) - len(sent), choice.left)


def _by_dataset(rows: Sequence[Sent]) -> dict[str, int]:
    return {name: sum(row.dataset == name for row in rows) for name in sorted({row.dataset for row in rows})}


def _send(asked: Asked, backend: Backend, ledger: list[Sent], waiting: Sequence[Sent]) -> list[Sent]:
    """Send tasks, and write after every batch that they were."""
    shards = _places(asked.run, {row.prompt_id for row in waiting})
    place = {row.id: n for n, row in enumerate(ledger)}
    sent: list[Sent] = []
    for form, rows in _by_form(asked, waiting):
        backend.prepare(form)
        rest = iter([row for row in rows if row.prompt_id in shards])
        while batch := list(islice(rest, BATCH)):
            tasks = dict(_tasks(asked, batch, shards))
            backend.push(form, [task for task, _ in tasks.values()])
            done = [replace(row, state="sent", texts=tasks[row.id][1]) for row in batch if row.id in tasks]
            for row in done:
                ledger[place[row.id]] = row
            write_ledger(asked.run, ledger)
            sent += done
    return sent


def _by_form(asked: Asked, rows: Sequence[Sent]) -> Iterator[tuple[Form, list[Sent]]]:
    """The rows of each form. What an interrupted push left may be of another kind than the recipe's of today."""
    groups: dict[str, list[Sent]] = {}
    for row in rows:
        groups.setdefault(row.dataset, []).append(row)
    for _, group in sorted(groups.items()):
        first = group[0]
        settings = asked.settings.model_copy(update={"task": first.kind})
        form = form_of(settings, asked.recipe.name, round=first.round, answers=len(first.answers))
        yield form, group


def _places(run: Run, prompts: set[str]) -> dict[str, Path]:
    """The shard of each prompt."""
    wanted = pa.array(sorted(prompts), pa.string())
    found: dict[str, Path] = {}
    for shard in run.shards() if prompts else ():
        ids = read_table(shard / "prompts.parquet", ["id"])["id"]
        found |= dict.fromkeys(ids.filter(pc.is_in(ids, value_set=wanted)).to_pylist(), shard)
    return found


def _tasks(asked: Asked, rows: Sequence[Sent], shards: Mapping[str, Path]) -> Iterator[tuple[str, tuple[Task, str]]]:
    """By the row's id, in the rows' order: the task and the hash of its texts. Not for rows whose answers are gone."""
    prompts: dict[str, Prompt] = {}
    texts: dict[str, str] = {}
    judged: dict[str, tuple[tuple[str, ...], Value]] = {}
    for shard in sorted({shards[row.prompt_id] for row in rows}):
        here = [row for row in rows if shards[row.prompt_id] == shard]
        ids = {row.prompt_id for row in here}
        prompts |= {p.id: p for p in to_records(Prompt, _rows_of(shard / "prompts.parquet", "id", ids))}
        answers = _rows_of(shard / "answers.parquet", "prompt_id", ids)
        texts |= dict(zip(answers["id"].to_pylist(), answers["text"].to_pylist(), strict=True))
        if any(row.suggested for row in here):
            judged |= {unit.id: (unit.answers, unit.judged) for unit in units_in(asked, shard) if unit.judged is not None}
    for row in rows:
        if all(answer in texts for answer in row.answers):
            shown = [texts[answer] for answer in row.answers]
            fields = fields_of(prompts[row.prompt_id], shown)
            yield row.id, (Task(row.id, fields, row.category, _suggestions(row, shown, judged)), texts_key(*shown))


def _rows_of(file: Path, column: str, ids: set[str]) -> pa.Table:
    table = read_table(file) if file.is_file() else None
    if table is None:
        return pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())})
    return table.filter(pc.is_in(table[column], value_set=pa.array(sorted(ids), pa.string())))


def _suggestions(row: Sent, texts: Sequence[str], judged: Mapping[str, tuple[tuple[str, ...], Value]]) -> dict[str, Value]:
    """What stands there already: of a rewrite the text itself; of others, where the task was drawn for it, the judge's choice."""
    if row.kind == "rewrite":
        return {"rewrite": texts[0]}
    said = judged.get(row.comparison_id or row.prompt_id) if row.suggested else None
    if said is None or set(said[0]) != set(row.answers):
        return {}
    return {row.kind: as_shown(said[1], said[0], row.answers)}
