"""Tables that come in from outside: JSONL, CSV, Parquet, a dataset folder or a hub name, one row at a time.

A row is a dict with the place it stands at, so that every complaint can name the file and the line.
"""

import codecs
import csv
import glob
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import orjson

from pipeline import ROOT
from pipeline.errors import InputError, choose_from
from pipeline.settings import TableSettings

Values = dict[str, Any]
Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row from outside: where it stands, our columns, and everything else it carries."""

    place: str
    values: Values
    rest: Values


def read_rows(table: TableSettings, *, needed: Sequence[str], understood: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a table with the recipe's renames applied. Raises InputError where a needed column is missing."""
    take = _taker(table, needed, understood)
    for place, raw in _raw_rows(table):
        yield take(place, raw)


def fingerprint(table: TableSettings) -> str:
    """A hash of the table's content (of its name and revision where it lies on a hub) and of how it is read."""
    state = hashlib.sha256(orjson.dumps([sorted(table.columns.items()), table.hub_split, table.hub_revision]))
    files = _files(table.path) or _folder_files(table.path)
    for file in files:
        with file.open("rb") as handle:
            state.update(hashlib.file_digest(handle, "sha256").digest())
    if not files:
        state.update(table.path.encode())
    return state.hexdigest()


def _taker(table: TableSettings, needed: Sequence[str], understood: Sequence[str]) -> Callable[[str, Values], Row]:
    ours = [*needed, *understood]
    unknown = [c for c in table.columns if c not in ours]
    if unknown:
        raise InputError(f"columns: '{unknown[0]}' is no column of this table; {choose_from(unknown[0], ours)}")
    sources = {column: table.columns.get(column, column) for column in ours}
    must = {*needed, *table.columns}

    def take(place: str, raw: Values) -> Row:
        values: Values = {}
        for column, theirs in sources.items():
            if theirs in raw:
                values[column] = raw[theirs]
            elif column in must:
                if _is_name(theirs):
                    raise InputError(_missing(table, place, column, raw))
                values[column] = _search(place, theirs, raw)
        used = set(sources.values())
        return Row(place, values, {k: v for k, v in raw.items() if k not in used})

    return take


def _missing(table: TableSettings, place: str, column: str, raw: Values) -> str:
    theirs = table.columns.get(column, column)
    named = f"column '{theirs}' (for '{column}')" if theirs != column else f"column '{column}'"
    return f"{place}: no {named}; {choose_from(theirs, map(str, raw))}; rename it with `columns: {{{column}: …}}` in the recipe"


def _is_name(text: str) -> bool:
    return text.replace("_", "a").replace("-", "a").replace(" ", "a").isalnum()


def _search(place: str, text: str, raw: Values) -> Any:
    from jmespath.exceptions import JMESPathError

    try:
        return _expression(text).search(raw)
    except JMESPathError as error:
        what = " ".join(str(error).split())
        raise InputError(f"{place}: columns: {text!r} does not fit the row ({what}); mend the expression or the row") from error


@lru_cache(maxsize=256)
def _expression(text: str) -> Any:
    import jmespath

    try:
        return jmespath.compile(text)
    except jmespath.exceptions.JMESPathError as error:
        what = " ".join(str(error).split())
        raise InputError(f"columns: '{text}' is neither a column's name nor a JMESPath expression ({what}); mend it") from error


def _raw_rows(table: TableSettings) -> Iterator[tuple[str, Values]]:
    files = _files(table.path)
    if not files:
        yield from _dataset_rows(table)
    for file in files:
        reader = _READERS.get(file.suffix.lower())
        if reader is None:
            raise InputError(f"{file}: found a '{file.suffix}' file; wanted one of {', '.join(sorted(_READERS))}")
        yield from reader(file)


def _files(path: str) -> list[Path]:
    """The files of a path or pattern; none where it is a folder or a hub name. InputError where a file is missing."""
    place = at_hand(path)
    if place.is_file():
        return [place]
    if glob.has_magic(path):
        found = [Path(f) for f in sorted(glob.glob(str(place), recursive=True)) if Path(f).is_file()]
        if not found:
            raise InputError(f"no file fits the pattern {path}; mend the path in the recipe")
        return found
    if not place.is_dir() and (place.suffix.lower() in (*_READERS, *_OTHER_FILES) or not _HUB_NAME.fullmatch(path)):
        raise InputError(f"no file at {path}; mend the path in the recipe (it is read from the folder you stand in)")
    return []


_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

_OTHER_FILES = (".json", ".txt", ".tsv", ".xlsx", ".gz", ".zst", ".zip", ".yaml", ".yml", ".md", ".arrow")
"""Endings by which a name that is not there is a missing file, and not a dataset's name on the hub."""


def at_hand(path: str) -> Path:
    """Paths count from where the user stands; what comes with the repository is found from anywhere."""
    place = Path(path).expanduser()
    return place if place.is_absolute() or place.exists() or not (ROOT / path).exists() else ROOT / path


def _folder_files(path: str) -> list[Path]:
    place = at_hand(path)
    return sorted(f for f in place.rglob("*") if f.is_file()) if place.is_dir() else []


def _jsonl(file: Path) -> Iterator[tuple[str, Values]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            place = f"{file.name} line {number}"
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                text = line[:80].decode("utf-8", "replace").strip()
                raise InputError(f"{place}: not JSON ({error}): {text!r}; mend or remove the line") from error
            if not isinstance(row, dict):
                raise InputError(f"{place}: found a {type(row).__name__}, wanted an object with columns; mend or remove the line")
            yield place, row


def _csv(file: Path) -> Iterator[tuple[str, Values]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            names = reader.fieldnames or []
            if twice := [name for name in names if names.count(name) > 1]:
                raise InputError(f"{file.name} line 1: the column '{twice[0]}' stands there twice; rename one")
            for row in reader:
                place = f"{file.name} line {reader.line_num}"
                if None in row or None in row.values():
                    raise InputError(f"{place}: found another number of fields than the {len(names)} of the header; mend the line")
                yield place, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not a CSV file in UTF-8 ({error}); mend it or save it as JSONL") from error


def _parquet(file: Path) -> Iterator[tuple[str, Values]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{file.name} row {number}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        what = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: not a Parquet file, or not a whole one in UTF-8 ({what}); mend the path or write it again") from error


def _dataset_rows(table: TableSettings) -> Iterator[tuple[str, Values]]:
    import datasets
    import pyarrow as pa

    try:
        for number, row in enumerate(_load_dataset(table), 1):
            yield f"{table.path} ({table.hub_split}) row {number}", dict(row)
    # `datasets` lets a StopIteration out where a file is empty.
    except (OSError, ValueError, KeyError, ImportError, StopIteration, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        what = "a file in it is empty" if isinstance(error, StopIteration) else " ".join(str(error).split())[:300]
        raise InputError(
            f"cannot read '{table.path}' (split {table.hub_split}) as a file, dataset folder or hub name: {what}; mend its path or files"
        ) from error


def _load_dataset(table: TableSettings) -> Rows:
    import datasets

    place = at_hand(table.path)
    if (place / "dataset_info.json").is_file() or (place / "dataset_dict.json").is_file():
        saved = datasets.load_from_disk(str(place))
        return cast(Rows, saved[table.hub_split] if isinstance(saved, datasets.DatasetDict) else saved)
    name = str(place) if place.is_dir() else table.path
    revision = None if place.is_dir() else table.hub_revision
    return cast(Rows, datasets.load_dataset(name, split=table.hub_split, revision=revision, streaming=True))


_READERS: dict[str, Callable[[Path], Iterator[tuple[str, Values]]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}
