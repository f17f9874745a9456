"""What people type into cells, read as answers to questions; and how a question is explained to them."""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.annotation import Question, Value
from pipeline.backends._csv_sheet import LONGEST_CELL, Sheet, restored
from pipeline.errors import InputError

_WHOLE = re.compile(r"(\d+)\.0+")
_NO = {"", "no", "n", "0", "false", "nein", "non"}


def is_discard(cell: str) -> bool:
    """Whether a word in the column `discard` skips the task."""
    return cell.casefold() not in _NO


def read_cell(sheet: Sheet, task_id: str, question: Question) -> Value | None:
    """The answer; None where the cell is empty. InputError where the question has no such answer."""
    cell = sheet.cell(task_id, question.name)
    if not cell:
        return None
    value = _READERS[question.kind](cell, question)
    if value is None:
        raise InputError(f"{sheet.place(task_id, question.name)}: found {cell[:80]!r}, wanted {_wanted(question)}; mend the cell")
    if question.kind == "text" and len(cell) >= LONGEST_CELL:
        raise InputError(
            f"{sheet.place(task_id, question.name)}: found a text of {len(cell)} characters, where Excel cuts off what is longer "
            f"than {LONGEST_CELL}; shorten it"
        )
    return value


def write_cell(value: Value) -> str:
    """How a suggestion stands in a cell."""
    return " > ".join(value) if isinstance(value, tuple) else str(value)


def explain(question: Question, words: Mapping[str, Any]) -> str:
    """What may stand in the question's column, in Markdown. `words` are those of prompts/annotate/LANGUAGE/sheet.md."""
    need = words["required"] if question.required else words["optional"]
    lines = [f"## `{question.name}`: {question.title}", "", *([question.description, ""] if question.description else [])]
    lines += [f"({need}; {words[question.kind]})", ""]
    lines += [f"- `{value}`" + (f": {text}" if text and text != value else "") for value, text in question.labels.items()]
    return "\n".join(lines).rstrip()


def _label(cell: str, question: Question) -> Value | None:
    """By the label's value or by what the annotator reads, in any case; 2.0 is 2, as some programs write it."""
    said = _WHOLE.sub(r"\1", restored(cell)).strip().casefold()
    known = {text.casefold(): value for value, text in question.labels.items()}
    known |= {value.casefold(): value for value in question.labels}
    return known.get(said)


def _rating(cell: str, question: Question) -> Value | None:
    label = _label(cell, question)
    return None if label is None else int(str(label))


def _ranking(cell: str, question: Question) -> Value | None:
    ranks = [[_label(part.strip(), question) for part in rank.split("=")] for rank in re.split(r"[>,;]", restored(cell))]
    found = [label for rank in ranks for label in rank]
    if None in found or sorted(map(str, found)) != sorted(question.labels):
        return None
    return tuple("=".join(sorted(map(str, rank))) for rank in ranks)


def _text(cell: str, question: Question) -> Value | None:
    return restored(cell).replace("\r\n", "\n")


_READERS = {"label": _label, "rating": _rating, "ranking": _ranking, "text": _text}


def _wanted(question: Question) -> str:
    names = list(question.labels)
    if question.kind == "ranking":
        return f"all of {', '.join(names)} once, the best first, such as {' > '.join(names)} (equals with =)"
    return f"one of {', '.join(names)}"
