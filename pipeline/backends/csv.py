"""A spreadsheet for each annotator goes out as CSV, is filled in, and comes back into the same folder.

    FOLDER/FORM/guidelines.md          what to do, and what may stand in which column
    FOLDER/FORM/FORM-ANNOTATOR.csv     a row a task
    FOLDER/FORM/.sent.json             what was sent to whom: a row that got lost on its way is there again after a push

A task goes to as many annotators as its form wants, spread evenly. What people typed is never overwritten.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from pipeline.annotation import AnnotateSettings, Form, Progress, Response, Status, Task, Value
from pipeline.backends._csv_cells import explain, is_discard, read_cell, write_cell
from pipeline.backends._csv_sheet import CATEGORY, DISCARD, ID, Sheet, neutral, read_sheet, write_sheet
from pipeline.errors import InputError, RecipeError
from pipeline.prompts import load_guidelines
from pipeline.runs import explained, read_json, write_text

Annotator = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,80}$")]
Sent = dict[str, dict[str, Any]]
"""By task id: category, fields, suggestions, and `to`, the annotators in whose sheets it stands."""


class Settings(AnnotateSettings):
    """Spreadsheets that travel as CSV files."""

    backend: Literal["csv"]
    annotators: list[Annotator] = Field(default=["annotator"], min_length=1)
    """Who gets a sheet. Letters, digits and . _ @ - since it names a file."""
    folder: str | None = None
    """Where the sheets lie, such as a shared folder; `annotate/csv` in the run folder when left out."""
    separator: Literal[",", ";"] = ","
    """Between cells. Excel splits columns at `;` where the decimal sign is a comma. Both are read."""


@dataclass(frozen=True, slots=True)
class Row:
    """What an annotator's row says. None as status where nobody has touched it."""

    status: Status | None
    values: Mapping[str, Value]

    def digest(self) -> str:
        return hashlib.sha256(orjson.dumps((self.status, self.values), option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


UNTOUCHED = Row(None, {})


class Backend:
    """The sheets of a run."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self._folder = Path(settings.folder).expanduser() if settings.folder else folder

    def prepare(self, form: Form) -> None:
        s = self.settings
        if form.min_submitted > len(s.annotators):
            raise RecipeError(
                f"annotate.annotators: found {len(s.annotators)}, and min_submitted wants {form.min_submitted} people for each task; "
                "name more annotators, or lower min_submitted"
            )
        words, how = load_guidelines(f"{s.language}/sheet")
        parts = [form.guidelines.strip(), how.strip(), *(explain(q, words) for q in form.questions)]
        with explained(self._folder):
            write_text(self._of(form) / "guidelines.md", "\n\n".join(parts) + "\n")

    def push(self, form: Form, tasks: Sequence[Task]) -> None:
        sent = self._sent(form)
        for task in tasks:
            to = self._to(task.id, sent.get(task.id, {}).get("to", []), form.min_submitted)
            sent[task.id] = {"category": task.category, "fields": task.fields, "suggestions": task.suggestions, "to": to}
        with explained(self._folder):
            write_text(self._of(form) / ".sent.json", orjson.dumps(sent))
            for annotator in self._annotators(sent):
                self._update(form, annotator, {i: t for i, t in sent.items() if annotator in t["to"]})

    def pull(self, form: Form, since: str | None) -> tuple[Iterator[Response], str | None]:
        """`since` holds a digest of every row that said something, by annotator: a pull changes no file."""
        before: dict[str, dict[str, str]] = orjson.loads(since) if since else {}
        now: dict[str, dict[str, str]] = {}
        changed: list[Response] = []
        for annotator, sheet, rows in self._said(form):
            seen = before.get(annotator, {})
            digests = {task_id: row.digest() for task_id, row in rows.items() if row.status or task_id in seen}
            now[annotator] = digests
            saved = datetime.fromtimestamp(sheet.changed_ns / 1e9, UTC).isoformat(timespec="microseconds")
            for task_id in (i for i, digest in digests.items() if seen.get(i) != digest):
                # A row that was emptied again is a draft that says nothing, so that what it said before does not stand.
                changed.append(Response(task_id, annotator, rows[task_id].status or "draft", rows[task_id].values, saved))
        return iter(changed), orjson.dumps({**before, **now}, option=orjson.OPT_SORT_KEYS).decode()

    def status(self, form: Form) -> Progress:
        sent = self._sent(form)
        submitted = dict.fromkeys(sent, 0)
        annotators: dict[str, dict[Status, int]] = {name: {} for name in self._annotators(sent)}
        for annotator, _, rows in self._said(form):
            for task_id, row in rows.items():
                if row.status:
                    annotators[annotator][row.status] = annotators[annotator].get(row.status, 0) + 1
                submitted[task_id] += row.status == "submitted"
        return Progress(len(sent), sum(n >= form.min_submitted for n in submitted.values()), annotators)

    def close(self) -> None:
        pass

    def _of(self, form: Form) -> Path:
        # A folder for each form: the sheets of `x` for `adjudication-anna` and of `x-adjudication` for `anna` have one name.
        return self._folder / form.name

    def _path(self, form: Form, annotator: str) -> Path:
        return self._of(form) / f"{form.name}-{annotator}.csv"

    def _sent(self, form: Form) -> Sent:
        return read_json(self._of(form) / ".sent.json") or {}

    def _annotators(self, sent: Sent) -> list[str]:
        """Those of the recipe, and those of whom a task was asked before."""
        return sorted({*self.settings.annotators, *(name for task in sent.values() for name in task["to"])})

    def _to(self, task_id: str, already: Sequence[str], wanted: int) -> list[str]:
        """Who gets the task: those who have it, and of the others whose hash with the task comes first."""
        others = [name for name in self.settings.annotators if name not in already]
        others.sort(key=lambda name: hashlib.sha256(f"{task_id} {name}".encode()).digest())
        return [*already, *others[: max(0, wanted - len(already))]]

    def _update(self, form: Form, annotator: str, tasks: Sent) -> None:
        path = self._path(form, annotator)
        sheet = read_sheet(path, _typed(form))
        if sheet is not None:
            _refuse_unknown(sheet, tasks)
        before = sheet.rows if sheet is not None else {}
        columns = _columns(form, tasks)
        extra = [name for name in sheet.columns if name not in columns] if sheet is not None else []
        rows = {i: {**before.get(i, _prefilled(form, task)), **_given(form, task)} for i, task in tasks.items()}
        columns = [*columns, *(name for name in extra if name)]
        if sheet is None or (rows.keys() != before.keys()) or any(_differ(row, before[i]) for i, row in rows.items()):
            separator = sheet.separator if sheet is not None else self.settings.separator
            write_sheet(path, columns, rows, separator, sheet.changed_ns if sheet is not None else None)

    def _said(self, form: Form) -> Iterator[tuple[str, Sheet, dict[str, Row]]]:
        sent = self._sent(form)
        annotators = self._annotators(sent)
        known = {self._path(form, name) for name in annotators}
        for path in sorted(self._of(form).glob("*")):
            if path.suffix in (".csv", ".xlsx", ".ods") and not path.name.startswith((".", "~")) and path not in known:
                raise InputError(
                    f"{path} is nobody's sheet; wanted {form.name}-ANNOTATOR.csv with one of {', '.join(annotators)}; "
                    "save it as CSV under that name, or take it away"
                )
        for annotator in annotators:
            sheet = read_sheet(self._path(form, annotator), _typed(form))
            if sheet is not None:
                tasks = {i: task for i, task in sent.items() if annotator in task["to"]}
                _refuse_unknown(sheet, tasks)
                yield annotator, sheet, {i: _row(form, sheet, i, tasks[i]) for i in sheet.rows}


def _row(form: Form, sheet: Sheet, task_id: str, task: dict[str, Any]) -> Row:
    prefilled = _prefilled(form, task)
    touched = [q for q in form.questions if _plain(sheet.cell(task_id, q.name)) != _plain(prefilled.get(q.name, ""))]
    if is_discard(sheet.cell(task_id, DISCARD)):
        return Row("discarded", {})
    if not any(sheet.cell(task_id, q.name) for q in touched):
        # Also an emptied proposal: where nothing is said, nothing was done.
        return UNTOUCHED
    values = {q.name: value for q in form.questions if (value := read_cell(sheet, task_id, q)) is not None}
    complete = all(q.name in values for q in form.questions if q.required)
    return Row("submitted" if complete else "draft", values)


def _typed(form: Form) -> list[str]:
    """The columns that people fill in, and the one by which their rows are known."""
    return [ID, *(q.name for q in form.questions), DISCARD]


def _columns(form: Form, tasks: Sent) -> list[str]:
    suggested = {name for task in tasks.values() for name in task["suggestions"]}
    shown = [f"suggested {q.name}" for q in form.questions if q.name in suggested and q.kind != "text"]
    return [ID, CATEGORY, *form.fields, *shown, *_typed(form)[1:]]


def _given(form: Form, task: dict[str, Any]) -> dict[str, str]:
    """The cells that are ours: they are the same after every push."""
    cells = {CATEGORY: task["category"] or "", **{name: task["fields"].get(name, "") for name in form.fields}}
    cells |= {f"suggested {q.name}": write_cell(_value(task, q.name)) for q in form.questions if q.kind != "text"}
    return {name: neutral(cell) for name, cell in cells.items()}


def _prefilled(form: Form, task: dict[str, Any]) -> dict[str, str]:
    """A proposed text stands in the cell in which it is edited. A proposed label does not: in the cell it could not be told
    from an answer."""
    return {q.name: neutral(str(task["suggestions"][q.name])) for q in form.questions if q.kind == "text" and q.name in task["suggestions"]}


def _value(task: dict[str, Any], question: str) -> Value:
    value = task["suggestions"].get(question, "")
    return tuple(value) if isinstance(value, list) else value


def _plain(cell: str) -> str:
    """Without what a spreadsheet changes by itself: line ends and outer space."""
    return " ".join(cell.split())


def _differ(row: Mapping[str, str], before: Mapping[str, str]) -> bool:
    return any(cell != before.get(name, "") for name, cell in row.items() if name != ID)


def _refuse_unknown(sheet: Sheet, tasks: Sent) -> None:
    for task_id in sheet.rows:
        if task_id not in tasks:
            raise InputError(
                f"{sheet.path.name}, row {sheet.places[task_id]}: found the id {sheet.rows[task_id][ID]!r}, wanted one of the "
                f"{len(tasks)} tasks that this sheet was sent with; put the id back, or remove the row"
            )
