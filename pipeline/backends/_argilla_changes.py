"""Which responses are new or changed: what Argilla tells, and what has to be read for the rest.

Argilla 2.8 has no list of responses and none by time. A record's `updated_at` moves only where its status flips, in the search
index not even then, so a filter by it misses what has just been completed; the index knows no time of a response at all. What
it has: the time of a dataset's last activity, and how many responses each annotator has, both from the database. So

1. where the last activity is the one of the pull before, nothing has changed: one request, whatever the size;
2. else the records that have responses are read, the newest first, and reading ends as soon as the responses that are
   new explain every count and the last activity. An earlier edit on an older page waits for a pull that reads all;
3. a pull reads all when it is the first, when the counts are not explained, or when the last that did is too old. Where the
   index lags behind the counts, it reads the records from the database.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from pipeline.annotation import Form, Response
from pipeline.backends._argilla_client import Client
from pipeline.backends._argilla_form import moment, response_of

Json = dict[str, Any]
Counts = dict[str, int]
"""Responses by `annotator status`."""

PAGE = 500
"""Records in a reply. 1,000 are allowed; long answers make that many megabytes."""

_SLACK = timedelta(minutes=5)
"""A response is stored later than its time says, by as long as the database makes it wait."""
_SAME = timedelta(seconds=2)
"""A response and the dataset's last activity are written together, a moment apart."""

_ANSWERED = {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["submitted", "draft", "discarded"]}
_NEWEST = [{"scope": {"entity": "record", "property": name}, "order": "desc"} for name in ("inserted_at", "id")]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a pull stood when it began."""

    place: str
    """The server and the workspace: elsewhere a cursor says nothing."""
    dataset: str
    activity: str
    """When the dataset saw its last response, as the server says."""
    counts: Counts
    read_all: str
    """The last activity when a pull last read all."""
    read_all_at: str
    """When that was, by our clock."""

    def text(self) -> str:
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS).decode()


def read_cursor(since: str | None, place: str) -> Cursor | None:
    cursor = Cursor(**orjson.loads(since)) if since else None
    return cursor if cursor is not None and cursor.place == place else None


def next_cursor(client: Client, place: str, dataset: Json, before: Cursor | None, every: timedelta) -> Cursor:
    """The cursor of a pull that begins now; equal to `before` where nothing has changed since."""
    activity = dataset["last_activity_at"]
    if before is not None and before.activity == activity:
        return before
    now = datetime.now(UTC)
    counts = response_counts(client, dataset["id"])
    if before is None or now - datetime.fromisoformat(before.read_all_at) >= every:
        return Cursor(place, dataset["id"], activity, counts, activity, now.isoformat())
    return Cursor(place, dataset["id"], activity, counts, before.read_all, before.read_all_at)


def response_counts(client: Client, dataset: str) -> Counts:
    counts: Counter[str] = Counter()
    for user in client.get(f"datasets/{dataset}/users/progress")["users"]:
        for record_status in ("completed", "pending"):
            for status, number in (user.get(record_status) or {}).items():
                counts[f"{user['username']} {status}"] += number
    return {key: number for key, number in counts.items() if number}


def changes(client: Client, form: Form, before: Cursor | None, now: Cursor, name_of: Callable[[str], str]) -> Iterator[Response]:
    """The responses between two cursors, some of them twice."""
    all_of_them = before is None or now.read_all_at != before.read_all_at
    since = _since(before, all_of_them)
    found: Counter[str] = Counter()
    new: Counter[str] = Counter()
    last = datetime.min.replace(tzinfo=UTC)
    for page in _answered_pages(client, now.dataset):
        for task_id, raw in _responses(page):
            annotator, updated = name_of(raw["user_id"]), moment(raw["updated_at"])
            found[annotator] += 1
            if before is not None and updated > moment(before.activity):
                last = max(last, updated)
                if moment(raw["inserted_at"]) > moment(before.activity):
                    new[f"{annotator} {raw['status']}"] += 1
            if updated >= since:
                yield response_of(form, task_id, annotator, raw)
        explained = before is not None and new == _more(before.counts, now.counts) and moment(now.activity) - last <= _SAME
        if explained and not all_of_them:
            return
    if any(number > found[annotator] for annotator, number in _by_annotator(now.counts).items()):
        for page in _all_pages(client, now.dataset):
            for task_id, raw in _responses(page):
                if moment(raw["updated_at"]) >= since:
                    yield response_of(form, task_id, name_of(raw["user_id"]), raw)


def _since(before: Cursor | None, all_of_them: bool) -> datetime:
    if before is None:
        return datetime.min.replace(tzinfo=UTC)
    return moment(before.read_all if all_of_them else before.activity) - _SLACK


def _more(before: Counts, now: Counts) -> Counter[str]:
    differences = {key: now.get(key, 0) - before.get(key, 0) for key in before.keys() | now.keys()}
    return Counter({key: number for key, number in differences.items() if number})


def _by_annotator(counts: Counts) -> Counter[str]:
    totals: Counter[str] = Counter()
    for key, number in counts.items():
        totals[key.rpartition(" ")[0]] += number
    return totals


def _responses(page: list[Json]) -> Iterator[tuple[str, Json]]:
    return ((record["external_id"] or record["id"], raw) for record in page for raw in record.get("responses") or [])


def _answered_pages(client: Client, dataset: str) -> Iterator[list[Json]]:
    """The records with a response, the newest first, as the search index knows them; the responses are the database's."""
    body = {"filters": {"and": [_ANSWERED]}, "sort": _NEWEST}
    offset, total = 0, 1
    while offset < total:
        params = {"include": "responses", "offset": offset, "limit": PAGE}
        found = client.call("POST", f"datasets/{dataset}/records/search", body, params)
        offset, total = offset + PAGE, found["total"]
        # Of a record that was deleted a moment ago the index may give the id, and the database nothing.
        yield [item["record"] for item in found["items"] if item.get("record")]


def _all_pages(client: Client, dataset: str) -> Iterator[list[Json]]:
    offset, total = 0, 1
    while offset < total:
        found = client.get(f"datasets/{dataset}/records", include="responses", offset=offset, limit=PAGE)
        offset, total = offset + PAGE, found["total"]
        yield found["items"]
