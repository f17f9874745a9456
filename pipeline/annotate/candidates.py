"""What a run has that people could be asked, read a shard at a time, with what its judge thinks of it.

A unit is a comparison where people choose, else a prompt with all its answers. Without a judge everything is a candidate;
with one, what it judged.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from math import inf
from pathlib import Path

from pipeline.annotate.forms import most_answers
from pipeline.annotate.ledger import Why
from pipeline.annotate.people import read_outcomes
from pipeline.annotation import AnnotateSettings, Value, annotate_settings
from pipeline.compare import compare
from pipeline.errors import RecipeError, RunError
from pipeline.judge import Outcome, resolve
from pipeline.recipe import check_recipe
from pipeline.records import Answer, Comparison, Verdict
from pipeline.runs import Run
from pipeline.settings import Anything, Recipe, judge_models, judge_settings, label_of, plugin_settings
from pipeline.strategies import StrategySettings
from pipeline.tables import read_table, to_records


@dataclass(frozen=True, slots=True)
class Asked:
    """A run and what its recipe asks of people."""

    run: Run
    recipe: Recipe
    settings: AnnotateSettings
    pair: StrategySettings
    roles: Mapping[str, str | None]
    weights: Mapping[str, float]
    bad: Set[str]
    """Prompts whose answers people found bad."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that people could be asked."""

    id: str
    """Of the comparison, or of the prompt."""
    prompt_id: str
    comparison_id: str | None
    answers: tuple[str, ...]
    """Ids, in the order in which they are stored."""
    category: str | None
    why: Why
    doubt: float
    """Among units of the same `why`: the less, the more in doubt. A margin, or the share of the jury that agrees."""
    judged: Value | None = None
    """What the judge would answer, its labels numbering the answers as they are stored. None where it says nothing."""


ORDER: tuple[Why, ...] = (
    "both_bad", "flipped", "split", "invalid", "one_order", "tie_in_one_order", "tie", "small_margin", "certain", "all",
)  # fmt: skip
"""The most doubtful first."""


def asked_of(run: Run) -> Asked:
    """What a run's recipe asks of people. RecipeError where it asks nothing, RunError where the run has nothing to show yet."""
    recipe = check_recipe(run.recipe())
    if recipe.annotate is None:
        raise RecipeError(
            f"the recipe in {run.path} has no `annotate` part, which says what people are asked, and where; add to your recipe the line "
            "`annotate: {backend: csv, task: choice, per_day: 100}` (or `backend: argilla`) and build again, "
            "which asks no model anything"
        )
    pair = plugin_settings("strategies", recipe.pair, "strategy", "pair", StrategySettings)
    roles = {name: recipe.model(name).role for name in recipe.models}
    weights = _weights(recipe.judge) if recipe.judge else {}
    bad = {say.prompt_id for say in read_outcomes(run).values() if say.result == "both_bad"}
    asked = Asked(run, recipe, annotate_settings(recipe.annotate), pair, roles, weights, bad)
    if not shards_of(asked):
        what = "verdicts" if recipe.judge else "answers"
        raise RunError(f"{run.path} holds no {what} yet, and people are asked about what is there; run `pairsmith build` into it first")
    return asked


def shards_of(asked: Asked) -> list[Path]:
    """The shards that have something to show."""
    last = "verdicts" if asked.recipe.judge else "answers"
    return [shard for shard in asked.run.shards() if (shard / f"{last}.parquet").is_file()]


def units_in(asked: Asked, shard: Path) -> Iterator[Unit]:
    """What people could be asked of a shard, in the order of its tables."""
    answers = to_records(Answer, read_table(shard / "answers.parquet"))
    table = read_table(shard / "prompts.parquet", ["id", "category"])
    categories = dict(zip(table["id"].to_pylist(), table["category"].to_pylist(), strict=True))
    compared = _compared(asked, shard, answers)
    if asked.settings.task == "choice":
        for comparison, outcome in compared:
            why, doubt = _doubt(outcome, asked.settings.margin)
            sides, category = (comparison.a, comparison.b), categories.get(comparison.prompt_id)
            yield Unit(comparison.id, comparison.prompt_id, comparison.id, sides, category, why, doubt, _choice(outcome))
        return
    by_prompt: dict[str, list[tuple[Comparison, Outcome | None]]] = {}
    for comparison, outcome in compared:
        by_prompt.setdefault(comparison.prompt_id, []).append((comparison, outcome))
    for prompt_id, group in groupby(answers, key=lambda a: a.prompt_id):
        unit = _of_prompt(asked, prompt_id, list(group), by_prompt.get(prompt_id, []), categories.get(prompt_id))
        if unit is not None:
            yield unit


def _compared(asked: Asked, shard: Path, answers: Sequence[Answer]) -> list[tuple[Comparison, Outcome | None]]:
    """The comparisons with what the judge says of them; not those that people decided already, or whose answers are gone."""
    if not asked.recipe.judge:
        comparisons, _ = compare(answers, asked.pair.meeting, asked.roles)
        return [(c, None) for c in comparisons]
    given = _verdicts(shard)
    known = {a.id for a in answers}
    came = [c for c in to_records(Comparison, read_table(shard / "comparisons.parquet")) if c.id in given and {c.a, c.b} <= known]
    outcomes = (resolve(given[c.id], accept_one_order=asked.pair.accept_one_order, weights=asked.weights) for c in came)
    return [(c, outcome) for c, outcome in zip(came, outcomes, strict=True) if outcome.source != "human"]


_NEEDED = ["comparison_id", "prompt_id", "judge", "order", "choice", "source", "score_a", "score_b"]
"""Of a verdict; its reply may be long, and is not read."""


def _verdicts(shard: Path) -> dict[str, list[Verdict]]:
    given: dict[str, list[Verdict]] = {}
    for row in read_table(shard / "verdicts.parquet", _NEEDED).to_pylist():
        given.setdefault(row["comparison_id"], []).append(Verdict(**row))
    return given


def _doubt(outcome: Outcome | None, margin: float | None) -> tuple[Why, float]:
    """Why a comparison is worth a person, and how much."""
    if outcome is None:
        return "all", 0.0
    if outcome.result == "flipped":
        return "flipped", 0.0
    if outcome.disagreement:
        return "split", 1 - outcome.disagreement
    if outcome.result in ("invalid", "one_order", "tie"):
        return outcome.result, 0.0
    if outcome.result == "split_tie":
        return "tie_in_one_order", 0.0
    scored = outcome.score_a is not None and outcome.score_b is not None
    apart = abs((outcome.score_a or 0) - (outcome.score_b or 0)) if scored else inf
    return ("small_margin" if margin is not None and apart < margin else "certain"), apart


def _choice(outcome: Outcome | None) -> Value | None:
    return {"A": "1", "B": "2", "tie": "tie"}.get(outcome.result) if outcome else None


def _of_prompt(
    asked: Asked, prompt_id: str, answers: list[Answer], compared: Sequence[tuple[Comparison, Outcome | None]], category: str | None
) -> Unit | None:
    kind, judged = asked.settings.task, bool(asked.recipe.judge)
    doubts = [_doubt(outcome, asked.settings.margin) for _, outcome in compared]
    why, doubt = min(doubts, key=lambda d: (ORDER.index(d[0]), d[1]), default=("all", 0.0))
    points = _points(compared)
    if kind == "rewrite":
        best = max(answers, key=lambda a: (points.get(a.id, -inf), asked.roles.get(a.model) == "strong"))
        why = "both_bad" if prompt_id in asked.bad else why
        return Unit(prompt_id, prompt_id, None, (best.id,), category, why, doubt)
    texts = list({a.text: a.id for a in reversed(answers)}.values())[::-1]
    if len(texts) < 2 or (judged and not compared):
        return None
    shown = tuple(_evenly(texts, most_answers(kind)))
    return Unit(prompt_id, prompt_id, None, shown, category, why, doubt, _ranking(shown, points) if kind == "ranking" else None)


def _points(compared: Sequence[tuple[Comparison, Outcome | None]]) -> dict[str, float]:
    """Of each answer that the judge says something of: its mean score, or the share of its comparisons that it won."""
    scored = any(outcome is not None and outcome.score_a is not None for _, outcome in compared)
    won = {"A": (1.0, 0.0), "B": (0.0, 1.0), "tie": (0.5, 0.5), "split_tie": (0.5, 0.5)}
    given: dict[str, list[float]] = {}
    for comparison, outcome in compared:
        if outcome is None:
            continue
        points = (outcome.score_a, outcome.score_b) if scored else won.get(outcome.result, (None, None))
        for answer, value in zip((comparison.a, comparison.b), points, strict=True):
            if value is not None:
                given.setdefault(answer, []).append(value)
    return {answer: sum(values) / len(values) for answer, values in given.items()}


def _ranking(answers: Sequence[str], points: Mapping[str, float]) -> Value | None:
    if not set(answers) <= points.keys():
        return None
    numbered = sorted(enumerate(answers, 1), key=lambda n: -points[n[1]])
    return tuple("=".join(str(n) for n, _ in rank) for _, rank in groupby(numbered, key=lambda n: points[n[1]]))


def _evenly(items: Sequence[str], most: int) -> list[str]:
    """At most so many, spread over all of them."""
    return [items[i * len(items) // most] for i in range(most)] if len(items) > most else list(items)


def _weights(raw: Anything, name: str = "judge") -> dict[str, float]:
    """How much each name in a jury's verdicts counts, from its settings alone: its models are not needed here."""
    settings, parts = judge_settings(raw, name)
    weights: dict[str, float] = {}
    for juror, (key, part) in zip(getattr(settings, "judges", ()), parts.items(), strict=True):
        weights |= _weights(part, f"{name}.{key}")
        if hasattr(juror, "weight"):
            weights[juror.name or _called(part, f"{name}.{key}")] = juror.weight
    return weights


def _called(part: Anything, name: str) -> str:
    model = judge_models(part, name).get(name)
    return f"{part['kind']}:{label_of(model.model or name)}" if model else str(part["kind"])
