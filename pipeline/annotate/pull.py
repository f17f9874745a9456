"""Pull: responses that are new or changed come into the store, and what people decided is derived from all of them again.

Written in this order: responses, tasks for adjudication, verdicts, rewrites, outcomes, and last the cursor that says from where the
next pull goes on. Whatever a kill leaves behind, the next pull brings the same responses again and derives the same tables.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline.annotate.candidates import Asked, asked_of
from pipeline.annotate.derive import Derived, Labelled, adjudications, derive
from pipeline.annotate.forms import form_of
from pipeline.annotate.ledger import Sent, folder, read_ledger, write_ledger
from pipeline.annotate.people import write_people
from pipeline.annotate.responses import Arrived, Stored, read_responses, take_in, write_responses
from pipeline.annotate.shown import Shown, read_shown
from pipeline.annotation import Form
from pipeline.backends import Backend
from pipeline.errors import BackendAway
from pipeline.records import Verdict
from pipeline.runs import Run, explained, json_text, read_json, write_text
from pipeline.tables import SCHEMAS, to_table, write_table


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull brought, and what people said so far. `new` and `changed` are responses of this pull; all else counts everything."""

    new: int
    changed: int
    submitted: int
    discarded: int
    drafts: int
    unknown: tuple[str, ...]
    """Tasks that people answered and the ledger does not know; their responses are not used."""
    unreadable: int
    """Responses that do not fit their form."""
    stale: int
    """Responses to answers that the run no longer holds."""
    decided: int
    """Comparisons that people decided."""
    unresolved: int
    """Comparisons on which they were not of one mind."""
    open: int
    """Comparisons that wait for more people."""
    apart: int
    """Of the decided ones, those that the run itself does not compare; no pair can come of them by its strategy."""
    rewrites: int
    unchanged: int
    """Of the rewrites, those that left the text as it was."""
    adjudication: int
    """Tasks that this pull added for adjudication; the next push sends them."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def pull(run: Run, backend: Backend, *, day: str | None = None) -> Pulled:
    """Bring what people said into the run. `day` (UTC) is written into tasks for adjudication.

    Raises RecipeError where the run's recipe asks nothing of people, and BackendAway after what had come is stored: the next pull
    goes on from there.
    """
    asked = asked_of(run)
    ledger = read_ledger(run)
    arrived, stored = _fetch(run, backend, forms_in(asked, [t for t in ledger if t.state == "sent"]))
    by_id = {task.id: task for task in ledger}
    shown = read_shown(asked, {t.prompt_id for t in ledger})
    found = derive(by_id, stored.values(), forms_in(asked, ledger), shown, asked.settings)
    today = day or datetime.now(UTC).date().isoformat()
    added = adjudications(found, by_id, asked.recipe.seed, today) if asked.settings.adjudication else []
    if added:
        write_ledger(run, [*ledger, *added])
    write_verdicts(run, found.labelled)
    write_people(run, found.people)
    with explained(run.path):
        write_text(_cursor(run), json_text(arrived.since))
    return _counted(arrived.counts, found, shown, len(added), stored)


def forms_in(asked: Asked, tasks: Sequence[Sent]) -> dict[str, Form]:
    """The form of each dataset that these tasks are in, whatever the recipe asks for today."""
    first = {task.dataset: task for task in reversed(tasks)}
    return {
        dataset: form_of(asked.settings.model_copy(update={"task": t.kind}), asked.recipe.name, round=t.round, answers=len(t.answers))
        for dataset, t in sorted(first.items())
    }


@dataclass(slots=True)
class _Fetched:
    counts: Arrived
    since: dict[str, str | None]


def _fetch(run: Run, backend: Backend, forms: dict[str, Form]) -> tuple[_Fetched, Stored]:
    """Everything new, stored. The cursor is moved later, when all that follows from it is written too."""
    stored, fetched = read_responses(run), _Fetched(Arrived(), read_json(_cursor(run)) or {})
    try:
        for dataset, form in forms.items():
            responses, since = backend.pull(form, fetched.since.get(dataset))
            for response in responses:
                take_in(stored, response, fetched.counts)
            fetched.since[dataset] = since
    except BackendAway:
        write_responses(run, stored)
        raise
    write_responses(run, stored)
    return fetched, stored


def _cursor(run: Run) -> Any:
    return folder(run) / "cursor.json"


_EXTRA = (
    pa.field("task_id", pa.string()),
    pa.field("both_bad", pa.bool_()),
    pa.field("strength", pa.int32()),
    pa.field("updated", pa.string()),
    pa.field("seconds", pa.float64()),
)


def write_verdicts(run: Run, labelled: Sequence[Labelled]) -> None:
    """One verdict for each person and comparison, with what a verdict has no place for: when, how long, how clearly, both bad."""
    table = to_table(Verdict, [one.verdict() for one in labelled])
    for field in _EXTRA:
        table = table.append_column(field, pa.array([_extra(one)[field.name] for one in labelled], field.type))
    assert table.schema.names[: len(SCHEMAS[Verdict])] == SCHEMAS[Verdict].names
    with explained(run.path):
        write_table(table, folder(run) / "verdicts.parquet", "people")


def _extra(one: Labelled) -> dict[str, Any]:
    return {
        "task_id": one.task.id,
        "both_bad": one.says.label == "both_bad",
        "strength": one.says.strength,
        "updated": one.response.updated,
        "seconds": one.response.seconds,
    }


def _counted(arrived: Arrived, found: Derived, shown: Shown, added: int, stored: Stored) -> Pulled:
    says = found.people.says
    decided = [one for one in says.values() if one.result != "unresolved"]
    compared = {one.comparison.id: one.comparison for one in found.labelled}
    return Pulled(
        new=arrived.new,
        changed=arrived.changed,
        submitted=Counter(r.status for r in stored.values())["submitted"],
        discarded=found.discarded,
        drafts=found.drafts,
        unknown=tuple(found.unknown),
        unreadable=found.unreadable,
        stale=found.stale,
        decided=len(decided),
        unresolved=len(says) - len(decided),
        open=len(compared.keys() - says.keys()),
        apart=sum(not shown.has(compared[one.comparison_id]) for one in decided),
        rewrites=len(found.people.rewrites),
        unchanged=sum(r.text.strip() == shown.answers[r.answer_id].text.strip() for r in found.people.rewrites),
        adjudication=added,
    )
