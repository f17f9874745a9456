"""Verdict tables from anywhere, read into one set of columns: ours, another tool's, people's.

A table may be described in a YAML file (a VerdictTable or a list of them), such as flows/recipes/verdicts/pandalm.yaml.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from pipeline import ROOT
from pipeline.check import check
from pipeline.errors import InputError, RecipeError, choose_from
from pipeline.passport.verdicts import CHOICES, COSTS, Collector, Row, Side, key_of
from pipeline.recipe import expand, read_yaml
from pipeline.records import Choice, Source, question_of
from pipeline.settings import TableSettings
from pipeline.sources import Row as OutsideRow
from pipeline.sources import fingerprint, read_rows

UNDERSTOOD = (
    "item", "comparison_id", "judge", "choice", "order", "prompt_id", "prompt", "a", "b", "a_model", "b_model", "length_a", "length_b",
    "score_a", "score_b", "source", "category", *COSTS,
)  # fmt: skip


class VerdictTable(TableSettings):
    """A table of verdicts, and how it says things."""

    words: dict[str, Choice] = Field(default_factory=dict)
    """The table's words for a choice: `{model_a: A, model_b: B, "*": invalid}`; `*` stands for every other word."""
    patterns: dict[str, list[str]] = Field(default_factory=dict)
    """Their column: regular expressions whose named groups are columns, `(?P<score_a>…)`; the first that is found counts."""
    valid_scores: tuple[float, float] | None = None
    """[lowest, highest]: a score outside was not read from the judge's reply, and the verdict is invalid."""
    judge: str | None = None
    """The judge's name, where the table has no `judge` column; the file's name when left out."""
    source: Source | None = None
    """Who judged, where the table has no `source` column; `llm` when left out."""
    answers: TableSettings | None = None
    """A table with `id`, `text` and `model` of the answers that `a` and `b` name, for their lengths and models."""


def described(path: str) -> list[VerdictTable]:
    """The tables that a YAML file describes; files of ours are found from anywhere. RecipeError where it does not fit."""
    import yaml

    place = Path(path) if Path(path).exists() or not (ROOT / path).exists() else ROOT / path
    try:
        raw = read_yaml(place.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read {path}: {error}; give a YAML file that describes verdict tables") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}; mend it") from error
    tables = raw if isinstance(raw, list) else [raw]
    if not tables or not all(isinstance(t, dict) for t in tables):
        raise RecipeError(f"{path} describes no verdict table; wanted one or a list of them, each with at least a `path`")
    return [check(VerdictTable, expand(t), f"{Path(path).name} table {n}") for n, t in enumerate(tables, 1)]


def named(path: str, columns: Mapping[str, str], words: Mapping[str, str], *, judge: str | None, source: Source | None) -> VerdictTable:
    """A table that is given on the command line. A rename whose column it lacks, while it has ours, does not concern it."""
    first = next(iter(read_rows(TableSettings(path=path), needed=())), None)
    has = first.rest if first else {}
    concerned = {ours: theirs for ours, theirs in columns.items() if theirs in has or ours not in has}
    return check(VerdictTable, {"path": path, "columns": concerned, "words": dict(words), "judge": judge, "source": source}, path)


def read_outside(table: VerdictTable, into: Collector, by: str | None, *, people: bool = False) -> set[str]:
    """Add a table's verdicts; returns the columns it has. `people`: whoever judged here is a person.

    Raises InputError where a row cannot be read.
    """
    reader = _Reader(table, by, people)
    ours = UNDERSTOOD if by is None or by in UNDERSTOOD else (*UNDERSTOOD, by)
    for row in read_rows(_plain(table), needed=(), understood=ours):
        reader.read(row, into)
    return reader.columns


def same_tables(tables: Iterable[VerdictTable]) -> str | None:
    """The path of a table that is given twice, under whatever name: another judge's name makes no other verdicts of them."""
    seen: set[tuple[str, str]] = set()
    for table in tables:
        mark = fingerprint(_plain(table)), table.model_dump_json(exclude={"path", "hub_split", "hub_revision", "judge", "source"})
        if mark in seen:
            return table.path
        seen.add(mark)
    return None


def _plain(table: VerdictTable) -> TableSettings:
    return TableSettings(**{f: getattr(table, f) for f in TableSettings.model_fields})


class _Reader:
    """What one table needs to be read; holds the answers it refers to, as models and lengths."""

    def __init__(self, table: VerdictTable, by: str | None, people: bool) -> None:
        self.table, self.by, self.people = table, by, people
        self.judge = table.judge or Path(table.path).name.partition(".")[0]
        self.words: dict[str, str] = {**{c: c for c in CHOICES}, **table.words}
        self.answers = dict(_answers(table.answers)) if table.answers else {}
        self.columns: set[str] = set()

    def read(self, row: OutsideRow, into: Collector) -> None:
        v = dict(row.values)
        for column, patterns in self.table.patterns.items():
            v.update(_found(patterns, row, column))
        if not self.columns:
            self.columns = {*v, *row.rest}
        person = self.people or (v.get("source") or self.table.source) == "human"
        if v.get("source") not in (None, "", "llm", "human", "rule"):
            raise InputError(f"{row.place}: source is {v['source']!r}; wanted llm, human or rule")
        choice = self._choice(row.place, v)
        if choice is None and person:
            into.left_out += 1
            return
        answers = _side(v, "a", "b")
        known = [self.answers.get(side or "", (None, math.nan)) for side in answers]
        models = _side(v, "a_model", "b_model")
        group = None if self.by is None else v.get(self.by, row.rest.get(self.by))
        into.add(
            Row(
                row.place,
                _item(row.place, v, answers, models),
                str(v.get("judge") or self.judge),
                person,
                choice or "invalid",
                self._order(row.place, v),
                (_key(answers[0]), _key(answers[1])),
                models if models[0] or models[1] else (known[0][0], known[1][0]),
                (self._length(row.place, v, "length_a", known[0][1]), self._length(row.place, v, "length_b", known[1][1])),
                None if group is None or group == "" else str(group),
                cast(tuple[float, float, float], tuple(_number(row.place, v, c) for c in COSTS)),
            )
        )

    def _choice(self, place: str, v: dict[str, Any]) -> str | None:
        """None where there is neither a word nor two scores."""
        said = v.get("choice")
        if said is not None and said != "":
            found = self.words.get(str(said), self.words.get("*"))
            if found is None:
                raise InputError(
                    f"{place}: the choice {str(said)!r} is none of {', '.join(self.words)}; say what it means with "
                    f"--words '{said}=A' (or B, tie, invalid)"
                )
            return found
        if "choice" not in v and not {"score_a", "score_b"} <= v.keys():
            raise InputError(
                f"{place}: found no `choice` and no `score_a` and `score_b`; the columns are {', '.join(sorted(self.columns))}: "
                "rename one with --columns choice=THEIRS"
            )
        a, b = _number(place, v, "score_a"), _number(place, v, "score_b")
        if math.isnan(a) or math.isnan(b):
            return None
        low, high = self.table.valid_scores or (-math.inf, math.inf)
        if not (low <= min(a, b) and max(a, b) <= high):
            return "invalid"
        return "tie" if a == b else "A" if a > b else "B"

    def _order(self, place: str, v: dict[str, Any]) -> Literal["AB", "BA"] | None:
        order = v.get("order")
        if order is None or order == "":
            return None
        if order not in ("AB", "BA"):
            raise InputError(f"{place}: order is {order!r}; wanted AB or BA, the side that was shown first")
        return cast(Literal["AB", "BA"], order)

    def _length(self, place: str, v: dict[str, Any], column: str, known: float) -> float:
        given = _number(place, v, column)
        return known if math.isnan(given) else given


def _item(place: str, v: dict[str, Any], answers: Side, models: Side) -> str:
    for column in ("item", "comparison_id"):
        if v.get(column) is not None and v[column] != "":
            return str(v[column])
    about = v.get("prompt_id") if v.get("prompt_id") is not None else v.get("prompt")
    if isinstance(about, list):
        about = question_of(about)
    sides = answers if answers[0] and answers[1] else models if about is not None else (None, None)
    if not (sides[0] and sides[1]):
        raise InputError(
            f"{place}: which comparison is this? Wanted `item`, or `a` and `b`, or `a_model` and `b_model` with `prompt_id` or `prompt`; "
            f"the columns are {', '.join(sorted(v))}: rename one with --columns item=THEIRS"
        )
    return key_of("", about if answers is not sides else "", *sorted((sides[0], sides[1])))


def _side(v: dict[str, Any], a: str, b: str) -> Side:
    one, other = v.get(a), v.get(b)
    return None if one is None else str(one).strip(), None if other is None else str(other).strip()


def _key(side: str | None) -> str | None:
    return None if side is None else key_of(side)


def _number(place: str, v: dict[str, Any], column: str) -> float:
    """A number, nan where there is none."""
    value = v.get(column)
    if value is None or value == "":
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{place}: {column} is {value!r}; wanted a number") from None
    return number if math.isfinite(number) else math.nan


def _answers(table: TableSettings) -> Iterable[tuple[str, tuple[str | None, float]]]:
    for row in read_rows(table, needed=("id", "text"), understood=("model",)):
        v = row.values
        yield str(v["id"]), (None if v.get("model") is None else str(v["model"]), float(len(str(v["text"]).strip())))


def _found(patterns: list[str], row: OutsideRow, column: str) -> dict[str, str | None]:
    """The named groups of the first pattern that is found in a column; none where no pattern is."""
    if column not in row.values and column not in row.rest:
        raise InputError(f"{row.place}: patterns: no column '{column}'; {choose_from(column, {**row.values, **row.rest})}")
    text = str(row.values.get(column, row.rest.get(column)))
    nothing: dict[str, str | None] = {name: None for p in patterns for name in _search(p)[1]}
    for pattern in patterns:
        if found := _search(pattern)[0](text):
            return {**nothing, **found}
    return nothing


@lru_cache(maxsize=64)
def _search(pattern: str) -> tuple[Callable[[str], dict[str, str | None] | None], tuple[str, ...]]:
    import regex

    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise RecipeError(f"patterns: {pattern!r} is no regular expression ({error}); mend it") from error
    if strange := [name for name in compiled.groupindex if name not in UNDERSTOOD]:
        raise RecipeError(f"patterns: the group '{strange[0]}' is no column of a verdict table; {choose_from(strange[0], UNDERSTOOD)}")

    def search(text: str) -> dict[str, str | None] | None:
        found = compiled.search(text, timeout=5)
        return dict(found.groupdict()) if found else None

    return search, tuple(compiled.groupindex)
