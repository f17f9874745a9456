"""What a judge is: something that says of two answers which is better, or that it cannot tell.

A plug-in file defines `Settings` (with a `kind` field, the plug-in's name) and `Judge`, built from them and from the
model it asks (None for a judge that asks none). A judge never raises for a single comparison: where it gets no usable
reply its verdict is `invalid`, with the reply kept. It raises EngineError and BudgetSpent, which stop the run.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pipeline.model import Model
from pipeline.records import Answer, Comparison, Prompt, Verdict


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
        """Verdicts on these comparisons, in their order; one per order shown. None for a comparison it knows nothing of."""
