"""A search engine for argilla-server over one SQLite file. TEST HARNESS ONLY: users of Argilla run Elasticsearch or OpenSearch.

Neither of those can be had from PyPI or Debian, and the server does not start without a search engine. It takes plug-ins, so this
one answers what the server asks: text, filters, sort and pages over records, and progress. It runs in the server's own environment
(`inside.py` imports it, which registers it), in the server and in its worker at the same time: hence a file, and not memory.

A record is one JSON document, as it is in Elasticsearch; what is asked becomes SQL over it. Not there: similarity search, and the
query language (`"phrases"`, `-not`): a query is words, all of which must stand in the record.
"""

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from argilla_server.enums import MetadataPropertyType
from argilla_server.search_engine.base import (
    AndFilter,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataFilterScope,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    SuggestionFilterScope,
    TermsFilter,
    TermsMetrics,
)
from argilla_server.settings import settings

NAME = "sqlite"

TABLE = """
CREATE TABLE IF NOT EXISTS document (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, dataset TEXT NOT NULL, body TEXT NOT NULL, words TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS document_dataset ON document (dataset);
"""

Sql = tuple[str, list[Any]]
"""A piece of SQL and its parameters."""


@SearchEngine.register(NAME)
class SqliteSearchEngine(SearchEngine):
    """One connection a process: all calls come from the server's event loop, and each is done before the next begins."""

    _connections: ClassVar[dict[int, sqlite3.Connection]] = {}

    @classmethod
    async def new_instance(cls) -> "SqliteSearchEngine":
        return cls()

    @property
    def db(self) -> sqlite3.Connection:
        if os.getpid() not in self._connections:
            self._connections[os.getpid()] = connect(Path(settings.home_path) / "search.db")
        return self._connections[os.getpid()]

    async def close(self) -> None:
        """The connection stays: the server asks for a new instance on every request."""

    async def ping(self) -> bool:
        return bool(self.db.execute("SELECT 1").fetchone())

    async def info(self) -> dict:
        return {"name": NAME, "version": sqlite3.sqlite_version, "note": "test harness"}

    # --- what is in it

    async def create_index(self, dataset: Any) -> None:
        """Nothing: an index is its documents."""

    async def configure_metadata_property(self, dataset: Any, metadata_property: Any) -> None:
        """Nothing: all metadata can be asked for."""

    async def delete_index(self, dataset: Any) -> None:
        self.db.execute("DELETE FROM document WHERE dataset = ?", [str(dataset.id)])

    async def index_records(self, dataset: Any, records: Iterable[Any]) -> None:
        rows = [(str(r.id), str(dataset.id), json.dumps(document(r)), json.dumps(words(r.fields))) for r in records]
        with closing(self.db.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany(
                "INSERT INTO document (id, dataset, body, words) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET body = excluded.body, words = excluded.words",
                rows,
            )
            cursor.execute("COMMIT")

    async def delete_records(self, dataset: Any, records: Iterable[Any]) -> None:
        self.db.executemany("DELETE FROM document WHERE id = ?", [(str(r.id),) for r in records])

    async def partial_record_update(self, record: Any, **update: Any) -> None:
        self._change(record.id, lambda body: body.update(plain(update)))

    async def update_record_response(self, response: Any) -> None:
        self._change(response.record.id, lambda body: body["responses"].update({str(response.id): response_document(response)}))

    async def delete_record_response(self, response: Any) -> None:
        self._change(response.record.id, lambda body: body["responses"].pop(str(response.id), None))

    async def update_record_suggestion(self, suggestion: Any) -> None:
        self._change(suggestion.record_id, lambda body: body["suggestions"].update(suggestion_document(suggestion)))

    async def delete_record_suggestion(self, suggestion: Any) -> None:
        self._change(suggestion.record_id, lambda body: body["suggestions"].pop(suggestion.question.name, None))

    def _change(self, record_id: Any, change: Callable[[dict[str, Any]], Any]) -> None:
        with closing(self.db.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            found = cursor.execute("SELECT body FROM document WHERE id = ?", [str(record_id)]).fetchone()
            if found:
                body = json.loads(found[0])
                change(body)
                cursor.execute("UPDATE document SET body = ? WHERE id = ?", [json.dumps(body), str(record_id)])
            cursor.execute("COMMIT")

    # --- what is asked

    async def search(
        self,
        dataset: Any,
        query: Any = None,
        filter: Any = None,  # noqa: A002
        sort: list[Any] | None = None,
        offset: int = 0,
        limit: int = 100,
        user_id: Any = None,
    ) -> SearchResponses:
        """With a user and without a sort, an order that is the user's own, as Elasticsearch gives: two annotators start at two
        places. `user_id` is given by the server though the abstract method does not have it."""
        conditions: list[Sql] = [("dataset = ?", [str(dataset.id)]), *text_conditions(query)]
        if filter is not None:
            conditions.append(condition(filter))
        where, given = all_of(conditions)
        order, sorted_by = order_by(sort, user_id)
        total = self.db.execute(f"SELECT count(*) FROM document WHERE {where}", given).fetchone()[0]
        rows = self.db.execute(
            f"SELECT id FROM document WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?", [*given, *sorted_by, limit, offset]
        )
        return SearchResponses(items=[SearchResponseItem(record_id=row[0], score=1.0) for row in rows], total=total)

    async def get_dataset_progress(self, dataset: Any) -> dict:
        rows = self.db.execute("SELECT body ->> '$.status', count(*) FROM document WHERE dataset = ? GROUP BY 1", [str(dataset.id)])
        return with_total(dict(rows.fetchall()))

    async def get_dataset_user_progress(self, dataset: Any, user: Any) -> dict:
        rows = self.db.execute(
            "SELECT r.value ->> '$.status', count(*) FROM document, json_each(body, '$.responses') AS r "
            "WHERE dataset = ? AND r.value ->> '$.user_id' = ? GROUP BY 1",
            [str(dataset.id), str(user.id)],
        )
        return with_total(dict(rows.fetchall()))

    async def compute_metrics_for(self, metadata_property: Any) -> Any:
        source = "FROM document, json_each(body, ?) AS v WHERE dataset = ?"
        given = [path("metadata", metadata_property.name), str(metadata_property.dataset.id)]
        if metadata_property.type == MetadataPropertyType.terms:
            rows = self.db.execute(f"SELECT v.value, count(*) {source} GROUP BY 1 ORDER BY 2 DESC", given).fetchall()
            values = [TermsMetrics.TermCount(term=str(term), count=count) for term, count in rows]
            return TermsMetrics(total=sum(count for _, count in rows), values=values)
        low, high = self.db.execute(f"SELECT min(v.value), max(v.value) {source}", given).fetchone()
        kind = IntegerMetadataMetrics if metadata_property.type == MetadataPropertyType.integer else FloatMetadataMetrics
        return kind(min=low, max=high)

    async def similarity_search(self, *args: Any, **kwargs: Any) -> SearchResponses:
        raise NotImplementedError("the test harness's search engine has no vectors")


def connect(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file, timeout=30, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")  # it survives a killed process, and nobody pulls the plug on a test
    db.executescript(TABLE)
    db.create_function("shuffled", 2, lambda user, key: hashlib.md5(f"{user}{key}".encode()).hexdigest(), deterministic=True)
    return db


# --- documents


def document(record: Any) -> dict[str, Any]:
    suggestions: dict[str, Any] = {}
    for suggestion in record.suggestions or []:
        suggestions |= suggestion_document(suggestion)
    return plain(
        {
            **{name: getattr(record, name) for name in ("id", "external_id", "status", "inserted_at", "updated_at")},
            "metadata": record.metadata_ or {},
            "responses": {str(r.id): response_document(r) for r in record.responses or []},
            "suggestions": suggestions,
        }
    )


def response_document(response: Any) -> dict[str, Any]:
    values = {name: value.get("value") for name, value in (response.values or {}).items()}
    return plain({"status": response.status, "user_id": response.user_id, "values": values})


def suggestion_document(suggestion: Any) -> dict[str, Any]:
    return {suggestion.question.name: plain({name: getattr(suggestion, name) for name in ("type", "agent", "score", "value")})}


def plain(value: dict[str, Any]) -> dict[str, Any]:
    """What JSON can hold: times as UTC in ISO 8601 with microseconds, so that their order is that of their texts."""
    return json.loads(json.dumps(value, default=lambda v: moment(v) if isinstance(v, datetime) else str(getattr(v, "value", v))))


def moment(time: datetime) -> str:
    return (time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time).isoformat(timespec="microseconds")


def words(fields: dict[str, Any]) -> dict[str, str]:
    """Each field's words in lower case with a blank on both sides, so that a word is found whole."""
    return {name: f" {' '.join(split(value if isinstance(value, str) else json.dumps(value)))} " for name, value in fields.items()}


def split(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def with_total(counts: dict[str, int]) -> dict[str, int]:
    return {"total": sum(counts.values()), **counts}


# --- from what is asked to SQL


def all_of(conditions: list[Sql]) -> Sql:
    return " AND ".join(f"({sql})" for sql, _ in conditions) or "1", [value for _, given in conditions for value in given]


def text_conditions(query: Any) -> list[Sql]:
    if query is None:
        return []
    text, field = (query, None) if isinstance(query, str) else (query.q, query.field)
    where = "w.key = ? AND " if field else ""
    found = f"EXISTS (SELECT 1 FROM json_each(words) AS w WHERE {where}instr(w.value, ?))"
    return [(found, [*([field] if field else []), f" {word} "]) for word in split(text)]


def condition(asked: Any) -> Sql:
    if isinstance(asked, AndFilter):
        return all_of([condition(part) for part in asked.filters])
    if isinstance(asked.scope, ResponseFilterScope):
        return response_condition(asked)
    test, given = value_test(asked)
    return f"EXISTS (SELECT 1 FROM json_each(body, ?) AS v WHERE {test})", [scope_path(asked.scope), *given]


def response_condition(asked: Any) -> Sql:
    scope, values = asked.scope, list(getattr(asked, "values", []))
    whose, user = ("r.value ->> '$.user_id' = ?", [str(scope.user.id)]) if scope.user else ("1", [])
    if scope.question is None and "pending" in values:
        none = f"NOT EXISTS (SELECT 1 FROM json_each(body, '$.responses') AS r WHERE {whose})"
        rest = [value for value in values if value != "pending"]
        if not rest:
            return none, user
        others, given = response_condition(TermsFilter(scope=scope, values=rest))
        return f"{none} OR {others}", [*user, *given]
    test, given = value_test(asked)
    sql = f"EXISTS (SELECT 1 FROM json_each(body, '$.responses') AS r, json_each(r.value, ?) AS v WHERE {test} AND {whose})"
    return sql, [response_path(scope), *given, *user]


def value_test(asked: Any) -> Sql:
    """A test of `v.value`, which is every element where a value is a list."""
    if isinstance(asked, TermsFilter):
        return f"CAST(v.value AS TEXT) IN ({', '.join('?' * len(asked.values))})", [str(getattr(v, "value", v)) for v in asked.values]
    assert isinstance(asked, RangeFilter)
    dated = isinstance(asked.scope, RecordFilterScope)
    ends = [("v.value >= ?", asked.ge), ("v.value <= ?", asked.le)]
    return all_of([(test, [as_moment(end) if dated else float(end)]) for test, end in ends if end is not None])


def as_moment(end: Any) -> str:
    """An end of a range of times: ISO 8601, or milliseconds since 1970, as Elasticsearch takes them."""
    if isinstance(end, int | float):
        return moment(datetime.fromtimestamp(end / 1000, UTC))
    return moment(datetime.fromisoformat(end))


def scope_path(scope: Any) -> str:
    if isinstance(scope, MetadataFilterScope):
        return path("metadata", scope.metadata_property)
    if isinstance(scope, SuggestionFilterScope):
        return path("suggestions", scope.question, scope.property)
    assert isinstance(scope, RecordFilterScope)
    return path(getattr(scope.property, "value", scope.property))


def response_path(scope: Any) -> str:
    """Within one response."""
    return path("values", scope.question) if scope.question else path(str(scope.property))


def path(*names: str) -> str:
    return "$" + "".join(f'."{name}"' for name in names)


def order_by(sort: list[Any] | None, user_id: Any) -> Sql:
    if not sort:
        return ("shuffled(?, id)", [str(user_id)]) if user_id else ("seq", [])
    parts, given = [], []
    for order in sort:
        key, values = sort_key(order.scope)
        direction = "DESC" if getattr(order.order, "value", order.order) == "desc" else "ASC"
        parts.append(f"{key} {direction} NULLS LAST")
        given += values
    return ", ".join([*parts, "seq"]), given


def sort_key(scope: Any) -> Sql:
    if not isinstance(scope, ResponseFilterScope):
        return "json_extract(body, ?)", [scope_path(scope)]
    whose, user = ("r.value ->> '$.user_id' = ?", [str(scope.user.id)]) if scope.user else ("1", [])
    lowest = f"(SELECT min(v.value) FROM json_each(body, '$.responses') AS r, json_each(r.value, ?) AS v WHERE {whose})"
    return lowest, [response_path(scope), *user]
