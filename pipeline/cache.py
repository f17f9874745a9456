"""The reply cache: a reply is paid for once.

One SQLite file in WAL mode, safe with several processes writing at once. A reply is filed under the hash of what was
asked (model, revision, adapter, messages, sampling, sample number, schema, log probabilities) and never under a position, a run or a
dataset; so a stopped run, an added prompt or a changed judge pays only for what is new.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from pipeline.errors import RunError
from pipeline.records import Reply, Request

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key     BLOB NOT NULL UNIQUE,
    model   TEXT NOT NULL,
    reply   BLOB NOT NULL,
    arrived TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
)
"""

_BUSY_SECONDS = 60
"""How long a write waits for another process's; each holds the lock for well under a millisecond."""


def reply_key(model: str, revision: str | None, adapter: str | None, request: Request) -> bytes:
    """SHA-256 of everything that the reply depends on, as canonical JSON."""
    asked: tuple[object, ...] = (
        model,
        revision,
        adapter,
        [(m["role"], m["content"]) for m in request.messages],
        request.sampling,
        request.sample,
        request.schema,
    )
    if request.logprobs:  # a reply without them is no answer; the keys of all others stay as they were before there were any
        asked += (("logprobs", request.logprobs),)
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()


class ReplyCache:
    """Replies by key. To be used from one thread; every process and thread opens its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            _patiently(self._db, "PRAGMA journal_mode=WAL")
            # A killed process loses nothing under NORMAL; only a power cut can lose the last replies, never the file.
            self._db.execute("PRAGMA synchronous=NORMAL")
            _patiently(self._db, _SCHEMA)

    def get(self, key: bytes) -> Reply | None:
        with self._explained():
            row = self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return Reply.from_json(row[0]) if row else None

    def put(self, key: bytes, model: str, reply: Reply) -> Reply:
        """Store a reply, durably against a kill, and return the one that counts: another process may have been first."""
        with self._explained():
            done = self._db.execute(
                "INSERT INTO replies (key, model, reply) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (key, model, reply.to_json())
            )
        return reply if done.rowcount else self.get(key) or reply

    def count(self) -> dict[str, int]:
        """Replies held, by model."""
        with self._explained():
            return dict(self._db.execute("SELECT model, count(*) FROM replies GROUP BY model ORDER BY model"))

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise RunError(
                f"the reply cache {self.path} cannot be used: {error}{_why(self.path)}; nothing that had arrived is lost: "
                "mend that, or set run.cache to another file, and start again"
            ) from error


def _patiently(db: sqlite3.Connection, statement: str) -> None:
    """Execute what SQLite refuses at once, without its own waiting, while another process creates the file."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            db.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _why(path: Path) -> str:
    folder = next((p for p in (path.parent, *path.parent.parents) if p.exists()), Path("/"))
    if not os.access(folder, os.W_OK):
        return f" ({folder} is read-only for you)"
    return " (the disk is full)" if os.statvfs(folder).f_bavail == 0 else ""
