"""Which model answers better, by a judge: the win rate of the model after training, raw and at equal length."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.evaluate.answers import AFTER, BEFORE, answers_of, meetings, prompts_of, verdicts_of
from pipeline.judge import resolve
from pipeline.passport.estimate import NOTHING, Tally, plain
from pipeline.passport.figures import run_figures
from pipeline.passport.labels import cells, label_table
from pipeline.passport.length import length_figures
from pipeline.passport.verdicts import Collector, Row
from pipeline.records import Answer, Choice, Prompt
from pipeline.runs import Run
from pipeline.settings import Anything

Outcome = Literal["win", "loss", "tie", "identical", "contradictory", "invalid"]
"""What became of a comparison, for the model after training. `identical`: both said the same, and nobody was asked;
`contradictory`: the judge took another side when the order changed."""

OUTCOMES: tuple[Outcome, ...] = ("win", "loss", "tie", "identical", "contradictory", "invalid")

_POINTS: Mapping[Outcome, float] = {"win": 1.0, "loss": 0.0, "tie": 0.5, "identical": 0.5, "contradictory": 0.5}

_CHOICES: Mapping[Outcome, Choice] = {
    "win": "A",
    "loss": "B",
    "tie": "tie",
    "identical": "tie",
    "contradictory": "tie",
    "invalid": "invalid",
}

_RESULTS: Mapping[str, Outcome] = {"A": "win", "B": "loss", "tie": "tie", "split_tie": "contradictory", "flipped": "contradictory"}


@dataclass(frozen=True, slots=True)
class Compared:
    """One comparison, and what became of it."""

    id: str
    prompt: Prompt
    after: Answer
    before: Answer
    outcome: Outcome


def compared(run: Run, weights: Mapping[str, float] | None = None) -> list[Compared]:
    """All comparisons of a run whose verdicts are in. `weights` are a jury's."""
    answers, verdicts = answers_of(run), verdicts_of(run)
    found = []
    for prompt in prompts_of(run):
        for comparison, a, b in meetings(answers.get(prompt.id, {AFTER: [], BEFORE: []})):
            given = verdicts.get(comparison.id)
            result = resolve(given, weights=weights).result if given else "invalid"
            outcome = "identical" if a.text == b.text else _RESULTS.get(result, "invalid")
            found.append(Compared(comparison.id, prompt, a, b, outcome))
    return found


def win_figures(run: Run, rows: list[Compared], seed: int, resamples: int = 1000) -> Anything:
    """The win rate (ties count half) with its interval, by prompt; the same at equal length; how often what happened; and the
    judge's own flips. Comparisons without a valid verdict are counted and left out, never taken for ties."""
    counts = Counter(row.outcome for row in rows)
    judges = run_figures(run)["judges"]
    figures = {
        "prompts": len({row.prompt.id for row in rows}),
        "comparisons": len(rows),
        "outcomes": {name: counts[name] for name in OUTCOMES},
        "win_rate": _win_rate(rows),
        **_length(rows, np.random.default_rng(seed), resamples),
        "judges": [{k: judge[k] for k in ("name", "verdicts", "flip", "half_flip", "first_position", "invalid")} for judge in judges],
        "characters": {side: _mean(texts) for side, texts in _sides(rows)},
        "cut_off": {AFTER: _cut([r.after for r in rows]), BEFORE: _cut([r.before for r in rows])},
    }
    plained: Anything = plain(figures)
    return plained


def _win_rate(rows: list[Compared]) -> object:
    """A share clustered by prompt: several samples of one prompt are worth less than as many prompts."""
    points: dict[str, list[float]] = {}
    for row in rows:
        if row.outcome in _POINTS:
            points.setdefault(row.prompt.id, []).append(_POINTS[row.outcome])
    if not points:
        return NOTHING
    return Tally.of(np.array([sum(p) for p in points.values()]), np.array([float(len(p)) for p in points.values()])).estimate()


def _length(rows: list[Compared], rng: np.random.Generator, resamples: int) -> Anything:
    """The win rate as it would be at equal length; the share of decided comparisons that the longer answer won."""
    into = Collector()
    for row in rows:
        lengths = float(len(row.after.text)), float(len(row.before.text))
        into.add(Row(row.id, row.id, "all", False, _CHOICES.get(row.outcome, "tie"), None, (None, None), (AFTER, BEFORE), lengths))
    if not rows or all(row.outcome == "invalid" for row in rows):
        return {"controlled": NOTHING, "longer_chosen": NOTHING, "sway": NOTHING}
    v = into.verdicts()
    found = length_figures(v, label_table(v, cells(v))[:, 0], rng, resamples)
    controlled = next((m["controlled"] for m in found["controlled"] if m["model"] == AFTER), NOTHING)
    return {"controlled": controlled, "longer_chosen": found["longer_chosen"], "sway": found["sway"]}


def _sides(rows: list[Compared]) -> Iterator[tuple[str, list[int]]]:
    """The lengths of each model's answers, every answer once."""
    for side in (AFTER, BEFORE):
        answers = {a.id: a for a in ((row.after if side == AFTER else row.before) for row in rows)}
        yield side, [len(a.text) for a in answers.values()]


def _mean(values: list[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _cut(answers: list[Answer]) -> int:
    return len({a.id for a in answers if a.finish_reason == "length"})
