"""What a judge is: something that says of two answers which is better, or that it cannot tell.

A plug-in file defines `Settings` (with a `kind` field, the plug-in's name) and `Judge`, built from them and from the
model it asks (None for a judge that asks none). A judge never raises for a single comparison: where it gets no usable
reply its verdict is `invalid`, with the reply kept. It raises EngineError and BudgetSpent, which stop the run.

A judge that is made of judges has `Settings(PartsSettings)`, and its `Judge` is built from them and from its parts by name
(see _parts.py). Beside the contract a judge may have

    weights     how much each name in its verdicts counts, where several judges vote on a comparison
    requests    (answers, comparisons) of a prompt -> replies it takes, for the progress that a person sees
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pipeline.model import Model
from pipeline.plugins import load_plugin
from pipeline.records import Answer, Comparison, Prompt, Verdict
from pipeline.settings import JUDGE, Anything, judge_settings


class Judge(Protocol):
    """Sees all comparisons of a prompt at once, so that a judge may score or rank where that is cheaper."""

    asks_model: bool
    """Whether the settings must hold a `model`."""
    name: str
    """Of the judge in its verdicts."""

    def __init__(self, settings: Any, model: Model | None) -> None: ...

    def revision(self) -> str:
        """What the verdicts depend on beyond the settings: prompt files, checkers, tables. Part of a stage's key."""

    async def judge(self, prompt: Prompt, answers: Mapping[str, Answer], comparisons: Sequence[Comparison]) -> list[Verdict]:
        """Verdicts on these comparisons, in their order; one per order shown, or one without an order from a judge that sees
        none. None for a comparison it knows nothing of."""


def make_judge(raw: Anything, models: Mapping[str, Model], name: str = JUDGE) -> Judge:
    """The judge of a recipe's settings, with the models it asks by name (see settings.judge_models). RecipeError where it is none."""
    settings, parts = judge_settings(raw, name)
    kind = load_plugin("judges", raw["kind"]).Judge
    made = {key: make_judge(part, models, f"{name}.{key}") for key, part in parts.items()}
    judge: Judge = kind(settings, made or models.get(name))
    return judge


def requests_of(judge: Judge, answers: int, comparisons: int) -> int:
    """The replies that a judge takes for a prompt; one for each comparison where it does not say."""
    asked = getattr(judge, "requests", None)
    return int(asked(answers, comparisons)) if asked else comparisons * judge.asks_model
