"""What people decided, as the pair stage and the passport read it: an outcome for each comparison, and what they rewrote."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeVar

import pyarrow as pa

from pipeline.annotate.ledger import folder, read_ledger
from pipeline.records import Answer, content_id
from pipeline.runs import Run, explained
from pipeline.settings import digest
from pipeline.tables import key_of, read_table, to_table, write_table

Decision = Literal["A", "B", "tie", "both_bad", "unresolved"]
"""What people say of the stored sides together. `both_bad`: neither may be chosen. `unresolved`: they were not of one mind."""

PEOPLE = "people"
"""The model of an answer that a person wrote."""


@dataclass(frozen=True, slots=True)
class PeopleSay:
    """What all people said of one comparison."""

    comparison_id: str
    prompt_id: str
    a: str
    b: str
    result: Decision
    by: Literal["majority", "dawid_skene", "adjudication"]
    n: int
    """People who labelled it."""
    agreement: float
    """Share of them that said the result; of an unresolved one, the largest share that said one thing."""
    strength: float | None = None
    """Mean over those who chose the winner: slight 1, clear 2, strong 3. None where nobody said."""
    score_a: float | None = None
    """Mean over people, where they rated."""
    score_b: float | None = None
    texts: str = ""
    """Of the two answers, hashed, since an answer's id outlives its text: an outcome holds for these words alone."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A person's own text for a prompt, and the answer that it was made from."""

    id: str
    """Of the answer that it became."""
    prompt_id: str
    answer_id: str
    text: str
    annotator: str
    texts: str = ""
    """Of the answer that was edited, hashed."""


@dataclass(frozen=True, slots=True)
class People:
    """All that people said of some prompts."""

    says: Mapping[str, PeopleSay] = field(default_factory=dict)
    """By comparison."""
    rewrites: Sequence[Rewrite] = ()

    def __bool__(self) -> bool:
        return bool(self.says or self.rewrites)

    @property
    def decided(self) -> set[str]:
        """The comparisons on which people are of one mind."""
        return {i for i, say in self.says.items() if say.result != "unresolved"}

    def about(self, prompts: Collection[str]) -> "People":
        """What they said of these prompts."""
        kept = set(prompts)
        return People({i: s for i, s in self.says.items() if s.prompt_id in kept}, [r for r in self.rewrites if r.prompt_id in kept])

    def key(self) -> str:
        """A digest of what changes pairs; empty where people said nothing."""
        says = [
            [s.comparison_id, s.result, s.score_a, s.score_b, s.texts] for s in sorted(self.says.values(), key=lambda s: s.comparison_id)
        ]
        edits = [[r.prompt_id, r.answer_id, r.text, r.texts] for r in self.rewrites]
        return digest([says, edits]) if self else ""


@dataclass(frozen=True, slots=True)
class SaidByShard:
    """All of it; and of each shard once somebody asked, since a run asks for the key of every shard several times."""

    all: People
    shards: dict[int, People] = field(default_factory=dict)


def texts_key(*texts: str) -> str:
    """The hash of answers' texts, in their order."""
    return content_id(*texts)


def read_people(run: Run) -> People:
    return People(read_outcomes(run), read_rewrites(run))


def read_outcomes(run: Run) -> dict[str, PeopleSay]:
    """By comparison; empty where no person decided anything."""
    return {say.comparison_id: say for say in _read(run, "outcomes", PeopleSay)}


def read_rewrites(run: Run) -> list[Rewrite]:
    return _read(run, "rewrites", Rewrite)


def key_of_people(run: Run, prompts: Collection[str] | None = None) -> str:
    """A digest of what people said of these prompts, or of all: the same while they say the same; empty where they said nothing."""
    people = read_people(run)
    return (people if prompts is None else people.about(prompts)).key()


def drawn_by_chance(run: Run) -> set[str]:
    """The comparisons with a label of a task that was drawn by chance, or because all were sent: they stand for the whole run."""
    sample = {task.id for task in read_ledger(run) if task.probability is not None or task.why in ("random", "all")}
    file = folder(run) / "verdicts.parquet"
    if not sample or not file.is_file():
        return set()
    rows = zip(*(read_table(file, ["task_id", "comparison_id"]).to_pydict().values()), strict=True)
    return {comparison for task, comparison in rows if task in sample}


def write_people(run: Run, people: People) -> None:
    """Write outcomes and rewrites, and the rewrites as answers of the model `people`; in this order, each whole."""
    rewrites = sorted(people.rewrites, key=lambda r: (r.prompt_id, r.answer_id, r.text, r.annotator))
    answers = [Answer(r.id, r.prompt_id, PEOPLE, n, r.text, source="human") for n, r in enumerate(_first_of_each(rewrites))]
    with explained(run.path):
        write_table(to_table(Answer, answers), folder(run) / "answers.parquet", "people")
        _write(run, "rewrites", rewrites, Rewrite)
        _write(run, "outcomes", sorted(people.says.values(), key=lambda s: s.comparison_id), PeopleSay)


def _first_of_each(rewrites: Sequence[Rewrite]) -> list[Rewrite]:
    return list({r.id: r for r in reversed(rewrites)}.values())[::-1]


R = TypeVar("R", PeopleSay, Rewrite)

_TEXT = pa.string()

_SCHEMAS: Mapping[type, pa.Schema] = {
    PeopleSay: pa.schema(
        [
            *(pa.field(name, _TEXT, False) for name in ("comparison_id", "prompt_id", "a", "b", "result", "by")),
            pa.field("n", pa.int32(), False),
            pa.field("agreement", pa.float64(), False),
            *(pa.field(name, pa.float64()) for name in ("strength", "score_a", "score_b")),
            pa.field("texts", _TEXT, False),
        ]
    ),
    Rewrite: pa.schema([pa.field(name, _TEXT, False) for name in ("id", "prompt_id", "answer_id", "text", "annotator", "texts")]),
}


def _read(run: Run, name: str, kind: type[R]) -> list[R]:
    file = folder(run) / f"{name}.parquet"
    return [kind(**row) for row in read_table(file).to_pylist()] if key_of(file) else []


def _write(run: Run, name: str, rows: Sequence[R], kind: type[R]) -> None:
    write_table(pa.Table.from_pylist([asdict(row) for row in rows], _SCHEMAS[kind]), folder(run) / f"{name}.parquet", "people")
