"""The store of responses: everything that came from people, as it came, one row for each person on each task."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa

from pipeline.annotate.ledger import folder
from pipeline.annotation import Response, Value
from pipeline.runs import Run, explained
from pipeline.tables import read_table, write_table

Stored = dict[tuple[str, str], Response]
"""By task and annotator: a person has one response to a task, the last one."""

SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), False) for name in ("task_id", "annotator", "status", "values", "updated")),
        pa.field("seconds", pa.float64()),
    ]
)


@dataclass(slots=True)
class Arrived:
    """What a pull brought that was not there before."""

    new: int = 0
    changed: int = 0


def read_responses(run: Run) -> Stored:
    """All that is stored; empty where nothing came yet."""
    file = folder(run) / "responses.parquet"
    if not file.is_file():
        return {}
    rows = [Response(**{**row, "values": _values(row["values"])}) for row in read_table(file).to_pylist()]
    return {(r.task_id, r.annotator): r for r in rows}


def write_responses(run: Run, stored: Stored) -> None:
    """Write the store whole, in an order that does not hang on the order in which responses came."""
    rows = [_row(stored[key]) for key in sorted(stored)]
    with explained(run.path):
        write_table(pa.Table.from_pylist(rows, SCHEMA), folder(run) / "responses.parquet", "responses")


def take_in(stored: Stored, response: Response, arrived: Arrived) -> None:
    """Put a response into the store. One that is older than what stands there is passed over; the same again changes nothing."""
    key = response.task_id, response.annotator
    known = stored.get(key)
    if known is None:
        arrived.new += 1
    elif moment(response.updated) < moment(known.updated):
        return
    else:
        arrived.changed += _said(response) != _said(known)
    stored[key] = response


def moment(updated: str) -> datetime:
    """When a response was last changed. A text without a zone is UTC; one that is no time is as old as can be."""
    try:
        found = datetime.fromisoformat(updated)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _said(response: Response) -> tuple[str, str]:
    return response.status, orjson.dumps(dict(response.values), option=orjson.OPT_SORT_KEYS).decode()


def _row(response: Response) -> dict[str, Any]:
    status, values = _said(response)
    return {
        "task_id": response.task_id,
        "annotator": response.annotator,
        "status": status,
        "values": values,
        "updated": response.updated,
        "seconds": response.seconds,
    }


def _values(text: str) -> Mapping[str, Value]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in orjson.loads(text).items()}
