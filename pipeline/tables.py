"""The shapes of our own tables, one Parquet file a stage and shard. A file is written whole or not at all."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.records import Answer, Comparison, Pair, Prompt, Verdict


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that left, with the stage, the reason it is counted under, and what helps to find it."""

    stage: str
    reason: str
    id: str
    detail: str = ""
    prompt_id: str | None = None


def _field(name: str, kind: pa.DataType, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


_MESSAGES = pa.list_(pa.struct([_field("role", pa.string()), _field("content", pa.string())]))

SCHEMAS: Mapping[type, pa.Schema] = {
    Prompt: pa.schema(
        [
            _field("id", pa.string()),
            _field("messages", _MESSAGES),
            _field("plain", pa.bool_()),
            _field("split", pa.string()),
            _field("key", pa.string(), nullable=True),
            _field("category", pa.string(), nullable=True),
            _field("reference", pa.string(), nullable=True),
            _field("language", pa.string(), nullable=True),
            _field("metadata", pa.string()),
        ]
    ),
    Answer: pa.schema(
        [
            _field("id", pa.string()),
            _field("prompt_id", pa.string()),
            _field("model", pa.string()),
            _field("sample", pa.int32()),
            _field("text", pa.string()),
            _field("finish_reason", pa.string()),
            _field("source", pa.string()),
            _field("score", pa.float64(), nullable=True),
            _field("recorded_id", pa.string(), nullable=True),
        ]
    ),
    Comparison: pa.schema([_field(name, pa.string()) for name in ("id", "prompt_id", "a", "b")]),
    Verdict: pa.schema(
        [
            _field("comparison_id", pa.string()),
            _field("prompt_id", pa.string()),
            _field("judge", pa.string()),
            _field("order", pa.string(), nullable=True),
            _field("choice", pa.string()),
            _field("source", pa.string()),
            _field("score_a", pa.float64(), nullable=True),
            _field("score_b", pa.float64(), nullable=True),
            _field("reason", pa.string(), nullable=True),
            _field("reply", pa.string(), nullable=True),
            _field("prompt_sha", pa.string(), nullable=True),
            *(_field(name, pa.float64(), nullable=True) for name in ("prompt_tokens", "completion_tokens", "dollars")),
        ]
    ),
    Pair: pa.schema(
        [
            _field("prompt_id", pa.string()),
            _field("prompt", _MESSAGES),
            _field("chosen", pa.string()),
            _field("rejected", pa.string()),
            _field("chosen_model", pa.string()),
            _field("rejected_model", pa.string()),
            _field("source", pa.string()),
            _field("score_chosen", pa.float64(), nullable=True),
            _field("score_rejected", pa.float64(), nullable=True),
            _field("margin", pa.float64(), nullable=True),
            _field("category", pa.string(), nullable=True),
            _field("split", pa.string()),
            _field("plain", pa.bool_()),
            _field("finish_chosen", pa.string()),
            _field("finish_rejected", pa.string()),
        ]
    ),
    Dropped: pa.schema(
        [
            _field("stage", pa.string()),
            _field("reason", pa.string()),
            _field("id", pa.string()),
            _field("detail", pa.string()),
            _field("prompt_id", pa.string(), nullable=True),
        ]
    ),
}

R = TypeVar("R")

_KEY = b"pairsmith.key"


def to_table(kind: type[R], records: Sequence[R]) -> pa.Table:
    """Records as columns."""
    schema = SCHEMAS[kind]
    return pa.table([pa.array([getattr(r, f.name) for r in records], f.type) for f in schema], schema=schema)


def to_records(kind: type[R], table: pa.Table) -> list[R]:
    """Columns as records; message lists become tuples again."""
    columns = [_column(table, field) for field in SCHEMAS[kind]]
    return [kind(*row) for row in zip(*columns, strict=True)]


def _column(table: pa.Table, field: pa.Field) -> Iterable[Any]:
    values = table.column(field.name).to_pylist()
    return [tuple(v) for v in values] if field.type == _MESSAGES else cast(Iterable[Any], values)


def write_table(table: pa.Table, path: Path, key: str) -> None:
    """Write under a temporary name, then rename: whoever finds the file finds all of it. `key` says what it was made of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.replace_schema_metadata({_KEY: key.encode()})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(table, temporary, compression="zstd")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    return pq.ParquetFile(path).read(columns=list(columns) if columns is not None else None)


def key_of(path: Path) -> str | None:
    """What a table was made of; None where there is no whole table."""
    if not path.is_file():
        return None
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        return None
    found = metadata.get(_KEY)
    return found.decode() if found else None


def content_digest(path: Path) -> str:
    """A hash of a table's rows, whatever made them and however its file is laid out."""
    state = hashlib.sha256()
    for batch in read_table(path).replace_schema_metadata(None).combine_chunks().to_batches():
        state.update(batch.serialize())
    return state.hexdigest()
