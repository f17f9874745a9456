"""The ledger: one row for every task that was ever chosen for people, in RUN/annotate/tasks.parquet.

A row is written before its task is sent (`chosen`) and again after it (`sent`), so that a crash in between shows. It holds
the order in which the answers were shown, and no text: those stand in the shards.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from pipeline.annotation import TaskKind
from pipeline.records import content_id
from pipeline.runs import Run, explained
from pipeline.tables import read_table, write_table

Why = Literal[
    "both_bad",
    "flipped",
    "split",
    "invalid",
    "one_order",
    "tie_in_one_order",
    "tie",
    "small_margin",
    "certain",
    "random",
    "all",
    "adjudication",
]
"""What made a task worth a person: people who found no answer good (`both_bad`), the judge's doubt (`flipped` to `small_margin`), none of
it (`certain`), a draw by chance (`random`), no judge at all (`all`), or people who could not agree (`adjudication`)."""

_TEXT, _MAYBE = pa.string(), True

SCHEMA = pa.schema(
    [
        pa.field("id", _TEXT, False),
        pa.field("kind", _TEXT, False),
        pa.field("dataset", _TEXT, False),
        pa.field("round", pa.int32(), False),
        pa.field("prompt_id", _TEXT, False),
        pa.field("comparison_id", _TEXT, _MAYBE),
        pa.field("answers", pa.list_(_TEXT), False),
        pa.field("why", _TEXT, False),
        pa.field("probability", pa.float64(), _MAYBE),
        pa.field("category", _TEXT, _MAYBE),
        pa.field("suggested", pa.bool_(), False),
        pa.field("control", pa.bool_(), False),
        pa.field("day", _TEXT, False),
        pa.field("state", _TEXT, False),
        pa.field("texts", _TEXT, _MAYBE),
    ]
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A task as it was chosen."""

    id: str
    """Of the task; see `task_id`."""
    kind: TaskKind
    dataset: str
    """The form's name."""
    round: int
    """0, or 1 where it is an adjudication of what people could not agree on."""
    prompt_id: str
    comparison_id: str | None
    """None where the task is about a prompt and not about two of its answers."""
    answers: tuple[str, ...]
    """Ids in the order SHOWN: the field `answer_1` shows answers[0]. This undoes the blinding."""
    why: Why
    probability: float | None = None
    """Of a task that belongs to the random sample: the chance with which it came into it. None for all others."""
    category: str | None = None
    suggested: bool = False
    """Whether the judge's choice stood there as a suggestion."""
    control: bool = False
    """Whether it belongs to the share that never shows one."""
    day: str = ""
    """UTC date on which it was chosen."""
    state: Literal["chosen", "sent"] = "chosen"
    texts: str | None = None
    """Hash of the answers' texts in the order shown (see people.texts_key), once sent: an answer's id outlives its text."""


def folder(run: Run) -> Path:
    """Where a run keeps what people were asked and said."""
    return run.path / "annotate"


def task_id(kind: TaskKind, round_: int, prompt_id: str, answers: Sequence[str]) -> str:
    """The same for the same task, whatever order its answers are shown in: sending it twice replaces it."""
    return content_id(kind, round_, prompt_id, *sorted(answers))


def read_ledger(run: Run) -> list[Sent]:
    """Every task that was ever chosen, in the order in which they were; none where nothing was."""
    file = folder(run) / "tasks.parquet"
    if not file.is_file():
        return []
    return [Sent(**{**row, "answers": tuple(row["answers"])}) for row in read_table(file).to_pylist()]


def write_ledger(run: Run, rows: Sequence[Sent]) -> None:
    """Write the ledger whole, or not at all."""
    with explained(run.path):
        write_table(pa.Table.from_pylist([asdict(row) for row in rows], SCHEMA), folder(run) / "tasks.parquet", "ledger")
