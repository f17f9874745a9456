"""Verdicts that already exist in a table: another judge's, another tool's, or people's.

A row names the two answers by their own ids or texts (`a`, `b`) or by their models (`a_model`, `b_model`, with `prompt_id`
or `prompt`), and says `choice` or has `score_a` and `score_b`. A pair of answers nobody judged gets no verdict.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from pydantic import Field

from pipeline.errors import InputError
from pipeline.model import Model
from pipeline.records import Answer, Choice, Comparison, Order, Prompt, Source, Verdict, question_of
from pipeline.settings import JudgeSettings, TableSettings
from pipeline.sources import Row, fingerprint, read_rows

UNDERSTOOD = (
    "item", "judge", "choice", "order", "prompt_id", "prompt", "a", "b", "a_model", "b_model", "score_a", "score_b", "source", "reply",
)  # fmt: skip


class Settings(JudgeSettings, TableSettings):
    """A table of verdicts."""

    kind: Literal["recorded"] = "recorded"
    """The name of this plug-in."""
    words: dict[str, Choice] = Field(default_factory=dict)
    """The table's words for a choice, where they are not A, B, tie and invalid: `{model_a: A, model_b: B}`."""
    valid_scores: tuple[float, float] | None = None
    """[lowest, highest]: a score outside was not read from the judge's reply, and the verdict is invalid."""
    judge: str = "recorded"
    """The judge's name, where the table has no `judge` column."""
    source: Source = "llm"
    """Who judged, where the table has no `source` column."""


Key = frozenset[tuple[str, str]]
"""What a row says of its two answers, whichever side they stand on."""


class Judge:
    """Holds the table in memory: a verdict is a few words, its texts are not kept."""

    asks_model = False

    def __init__(self, settings: Settings, model: Model | None = None) -> None:
        self.settings = settings
        self.name = settings.judge
        self._table = TableSettings(**{f: getattr(settings, f) for f in TableSettings.model_fields})
        self._rows: dict[Key, list[_Recorded]] | None = None

    def revision(self) -> str:
        return fingerprint(self._table)

    async def judge(self, prompt: Prompt, answers: Mapping[str, Answer], comparisons: Sequence[Comparison]) -> list[Verdict]:
        if self._rows is None:
            self._rows = self._read()
        verdicts: list[Verdict] = []
        for comparison in comparisons:
            a, b = answers[comparison.a], answers[comparison.b]
            for row in next((self._rows[k] for k in _keys(prompt, a, b) if k in self._rows), []):
                verdicts.append(row.about(comparison, swapped=row.a in _names(prompt, b) and row.a not in _names(prompt, a)))
        return verdicts

    def _read(self) -> dict[Key, list["_Recorded"]]:
        rows: dict[Key, list[_Recorded]] = {}
        for row in read_rows(self._table, needed=(), understood=UNDERSTOOD):
            recorded = _Recorded.read(row, self.settings)
            rows.setdefault(frozenset((recorded.a, recorded.b)), []).append(recorded)
        return rows


@dataclass(frozen=True, slots=True)
class _Recorded:
    """One row: the names of its two answers, and the verdict as if they were stored as a and b."""

    a: tuple[str, str]
    b: tuple[str, str]
    choice: Choice
    judge: str
    order: Order
    source: Source
    score_a: float | None
    score_b: float | None
    reply: str | None

    @staticmethod
    def read(row: Row, settings: Settings) -> "_Recorded":
        v = row.values
        score_a, score_b = _score(row, "score_a"), _score(row, "score_b")
        choice = _choice(row, settings, score_a, score_b)
        valid = choice != "invalid"
        return _Recorded(
            _side(row, "a"),
            _side(row, "b"),
            choice,
            str(v.get("judge") or settings.judge),
            "BA" if v.get("order") == "BA" else "AB",
            cast(Source, v.get("source") or settings.source),
            score_a if valid else None,
            score_b if valid else None,
            None if v.get("reply") is None else str(v["reply"]),
        )

    def about(self, c: Comparison, *, swapped: bool) -> Verdict:
        """The verdict on a stored comparison, whose sides may be the other way round."""
        choice, order, score_a, score_b = self.choice, self.order, self.score_a, self.score_b
        if swapped:
            choice = cast(Choice, {"A": "B", "B": "A"}.get(choice, choice))
            order = cast(Order, order[::-1])
            score_a, score_b = score_b, score_a
        reason = "recorded_invalid" if choice == "invalid" else None
        return Verdict(c.id, c.prompt_id, self.judge, order, choice, self.source, score_a, score_b, reason, self.reply)


def _side(row: Row, side: Literal["a", "b"]) -> tuple[str, str]:
    v = row.values
    if v.get(side) is not None:
        return "", str(v[side]).strip()
    about = v.get("prompt_id") if v.get("prompt_id") is not None else v.get("prompt")
    if v.get(f"{side}_model") is None or about is None:
        raise InputError(
            f"{row.place}: which answer is {side}? Wanted `{side}` (its id or text), or `{side}_model` with `prompt_id` or `prompt`; "
            f"the row has: {', '.join(sorted({**v, **row.rest}))}"
        )
    text = question_of(about) if isinstance(about, list) else str(about)
    return text.strip(), str(v[f"{side}_model"])


def _names(prompt: Prompt, answer: Answer) -> list[tuple[str, str]]:
    """All ways in which a table may name an answer."""
    own = [("", name) for name in (answer.recorded_id, answer.id, answer.text) if name]
    return own + [(about, answer.model) for about in (prompt.key, prompt.id, prompt.question) if about]


def _keys(prompt: Prompt, a: Answer, b: Answer) -> list[Key]:
    return [frozenset((x, y)) for x in _names(prompt, a) for y in _names(prompt, b) if bool(x[0]) == bool(y[0])]


def _score(row: Row, column: str) -> float | None:
    value = row.values.get(column)
    if value is None or value == "":
        return None
    try:
        score = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{row.place}: {column} is {value!r}; wanted a number") from None
    return score if math.isfinite(score) else None


def _choice(row: Row, settings: Settings, score_a: float | None, score_b: float | None) -> Choice:
    said = row.values.get("choice")
    if said is not None:
        words: dict[str, Choice] = {"A": "A", "B": "B", "tie": "tie", "invalid": "invalid", **settings.words}
        if str(said) not in words:
            raise InputError(
                f"{row.place}: the choice {str(said)!r} is none of {', '.join(words)}; say what it means with "
                f"judge.words: {{{said}: A|B|tie|invalid}}"
            )
        return words[str(said)]
    if not {"score_a", "score_b"} <= row.values.keys():
        raise InputError(f"{row.place}: found no `choice` and no `score_a` and `score_b`; rename theirs with judge.columns")
    if score_a is None or score_b is None:
        return "invalid"
    if settings.valid_scores is not None:
        low, high = settings.valid_scores
        if not (low <= score_a <= high and low <= score_b <= high):
            return "invalid"
    return "tie" if score_a == score_b else "A" if score_a > score_b else "B"
