"""Answers that already exist in a table: other models' or people's. This is how human-written answers enter.

The table has `model`, `text`, and `prompt_id` (the prompt's own id or ours) or `prompt` (its text). It is indexed once in
a temporary file on disk, so that memory does not grow with it.
"""

import sqlite3
from functools import lru_cache
from typing import Any

from pipeline.errors import InputError, RequestFailed
from pipeline.records import Prompt, Reply, Request, content_id, question_of
from pipeline.settings import ModelSettings, TableSettings, place_of
from pipeline.sources import Row, fingerprint, read_rows

UNDERSTOOD = ("prompt_id", "prompt", "model", "id", "sample", "finish_reason", "score", "source")

_FINISHED = "stop"


class Settings(ModelSettings, TableSettings):
    """A table of answers; `model` is the name in its `model` column, and may be left out where there is no such column."""


class Engine:
    """Looks answers up; nothing is paid, so nothing is cached."""

    paid = False
    resident = False
    structured = False
    concurrency = 1

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self._table = TableSettings(**{f: getattr(settings, f) for f in TableSettings.model_fields})
        self._called = settings.model or name
        self._db: sqlite3.Connection | None = None

    def revision(self) -> str | None:
        return fingerprint(self._table)[:20]

    async def start(self) -> None:
        self._db = _index(self._table.model_dump_json(), fingerprint(self._table))
        known = self._db.execute("SELECT DISTINCT model FROM answers").fetchall()
        names = {row[0] for row in known}
        if names and names != {None} and self._called not in names:
            raise InputError(
                f"{self.settings.path} holds no answers of model '{self._called}'; it holds those of "
                f"{', '.join(sorted(str(n) for n in names))}: mend {place_of(self.name)}.model"
            )

    async def close(self) -> None:
        return None

    async def reply(self, request: Request) -> Reply:
        if request.prompt is None:
            raise InputError(f"model '{self.name}' is a table of answers and cannot judge; give the judge a model that can be asked")
        row = self._find(request.prompt, request.sample)
        if row is None:
            raise RequestFailed("no_recorded_answer", f"{self.settings.path} has none by {self._called}")
        text, finish_reason, score, source, recorded_id = row
        return Reply(text, finish_reason, score=score, source=source, recorded_id=recorded_id)

    def _find(self, prompt: Prompt, sample: int) -> tuple[Any, ...] | None:
        assert self._db is not None, "start() comes first"
        for key in (prompt.key, prompt.id, _text_key(prompt.question)):
            found = key and self._db.execute(
                "SELECT text, finish_reason, score, source, recorded_id FROM answers"
                " WHERE prompt = ? AND (model = ? OR model IS NULL) ORDER BY sample, rowid LIMIT 1 OFFSET ?",
                (key, self._called, sample),
            )
            row: tuple[Any, ...] | None = found.fetchone() if found else None
            if row:
                return row
        return None


@lru_cache(maxsize=4)
def _index(table: str, _content: str) -> sqlite3.Connection:
    settings = TableSettings.model_validate_json(table)
    db = sqlite3.connect("", check_same_thread=False)  # an unnamed database lives in a temporary file that ends with it
    db.execute("CREATE TABLE answers (prompt, model, sample, text, finish_reason, score REAL, source, recorded_id)")
    rows = read_rows(settings, needed=(), understood=(*UNDERSTOOD, "text"))
    db.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (_values(row) for row in rows))
    db.execute("CREATE INDEX by_prompt ON answers (prompt, model)")
    return db


def _values(row: Row) -> tuple[Any, ...]:
    v = row.values
    if "text" not in v:
        raise InputError(
            f"{row.place}: no column 'text'; it has: {', '.join(sorted({**v, **row.rest}))}; rename it with `columns: {{text: …}}`"
        )
    if v.get("prompt_id") is None and v.get("prompt") is None:
        raise InputError(f"{row.place}: an answer needs `prompt_id` or `prompt`, and has neither; rename one with `columns:`")
    prompt = str(v["prompt_id"]) if v.get("prompt_id") is not None else _text_key(v["prompt"])
    return (
        prompt,
        None if v.get("model") is None else str(v["model"]),
        int(v.get("sample") or 0),
        "" if v["text"] is None else str(v["text"]),
        str(v.get("finish_reason") or _FINISHED),
        _number(row, "score"),
        "human" if v.get("source") == "human" else "model",
        None if v.get("id") is None else str(v["id"]),
    )


def _number(row: Row, column: str) -> float | None:
    value = row.values.get(column)
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{row.place}: {column} is {value!r}; wanted a number") from None


def _text_key(prompt: Any) -> str:
    text = question_of(prompt) if isinstance(prompt, list) else str(prompt)
    # Two recordings of one prompt often differ in a line break at its end or between its parts.
    return content_id(" ".join(text.split()))
