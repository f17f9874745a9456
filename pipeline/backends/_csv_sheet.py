"""A sheet: a CSV file that is safe to open in a spreadsheet, and is read however a spreadsheet saved it.

A cell that a spreadsheet would run as a formula goes out behind an apostrophe, which is taken off again on the way in
(https://owasp.org/www-community/attacks/CSV_Injection). Ids go out as `task-…`: a bare hexadecimal one such as 12e45 would
come back as a number.
"""

import csv
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError

ID, CATEGORY, DISCARD = "id", "category", "discard"

LONGEST_CELL = 32_767
"""Characters that Excel keeps of a cell; what is longer it cuts off in silence."""

_PREFIX = "task-"
_RUNS = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_HIDDEN = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet as it stands. `rows` are by task id; a row's cells by column; `places` are the rows' numbers in a spreadsheet."""

    path: Path
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]
    places: Mapping[str, int]
    separator: str
    changed_ns: int
    """When the file was saved, in nanoseconds since 1970."""

    def cell(self, task_id: str, column: str) -> str:
        return self.rows[task_id].get(column, "").strip()

    def place(self, task_id: str, column: str) -> str:
        return f"{self.path.name}, row {self.places[task_id]}, column '{column}'"


def neutral(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if _RUNS.match(text) else text


def restored(cell: str) -> str:
    """What `neutral` was given."""
    return cell[1:] if _HIDDEN.match(cell) else cell


def read_sheet(path: Path, wanted: Sequence[str]) -> Sheet | None:
    """The sheet with at least the `wanted` columns; None where there is none. InputError where it cannot be read as one."""
    try:
        raw, changed_ns = path.read_bytes(), path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    text = _decoded(path, raw)
    separator = _separator(path, text)
    rows = _cells(path, text, separator)
    header = [name.strip() for name in rows[0]] if rows else []
    if missing := [name for name in wanted if name not in header]:
        raise InputError(
            f"{path}: found no column {_named(missing)} in its first row; wanted the sheet as it was sent, filled in; "
            "put the column back, or take the sheet away and push again"
        )
    by_id: dict[str, Mapping[str, str]] = {}
    places: dict[str, int] = {}
    for number, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        row = dict(zip(header, cells + [""] * len(header), strict=False))
        task_id = row[ID].strip().removeprefix(_PREFIX)
        if task_id in by_id:
            raise InputError(f"{path}: rows {places[task_id]} and {number} hold the same task '{row[ID]}'; remove one of them")
        by_id[task_id], places[task_id] = row, number
    return Sheet(path, tuple(header), by_id, places, separator, changed_ns)


def write_sheet(path: Path, columns: Sequence[str], rows: Mapping[str, Mapping[str, str]], separator: str, changed_ns: int | None) -> None:
    """Write the sheet under a temporary name, then rename. The cells are written as they are, ids apart. `changed_ns` is kept
    as the time at which it was saved, since that is when people said what stands in it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    for task_id, row in rows.items():
        writer.writerow([_PREFIX + task_id if name == ID else row.get(name, "") for name in columns])
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        # With a byte order mark Excel reads UTF-8; without one it reads the code page of its country.
        temporary.write_bytes(text.getvalue().encode("utf-8-sig", "replace"))
        if changed_ns is not None:
            os.utime(temporary, ns=(changed_ns, changed_ns))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _decoded(path: Path, raw: bytes) -> str:
    if raw.startswith(b"PK\x03\x04"):
        raise InputError(f"{path} is an Excel workbook under the name of a CSV file; save it as CSV")
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        # Excel's plain "CSV" is in the code page of its country; our own words and ids are the same in all of the western ones.
        return raw.decode("cp1252", "replace")


def _separator(path: Path, text: str) -> str:
    first = text.lstrip().partition("\n")[0]
    found = {s: sum(name.strip(' "\r') == ID for name in first.split(s)) * first.count(s) for s in (",", ";", "\t")}
    best = max(found, key=lambda s: found[s])
    if not found[best]:
        raise InputError(f"{path}: found no column 'id' in its first row {first[:80]!r}; wanted the sheet as it was sent, filled in")
    return best


def _cells(path: Path, text: str, separator: str) -> list[list[str]]:
    csv.field_size_limit(sys.maxsize)
    try:
        return list(csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=separator))
    except csv.Error as error:
        raise InputError(f"{path} is no CSV file: {error}; save the sheet as CSV again") from error


def _named(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
