"""Several judges vote: other models, other prompts. Three small ones of different families beat a large one (2404.18796).

Each juror's verdicts stand in the table under its own name. What the jury says of a comparison is the majority of their
weight (see judge.resolve), and how far they disagree is a number in the report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from pipeline.errors import RecipeError
from pipeline.judges import Judge as AnyJudge
from pipeline.judges import requests_of
from pipeline.judges._parts import PartSettings, PartsSettings, weights_of
from pipeline.model import settle
from pipeline.records import Answer, Comparison, Prompt, Verdict


class Juror(PartSettings):
    """A judge, its vote and its name."""

    weight: float = Field(1.0, allow_inf_nan=False)
    """How much its vote counts: its measured accuracy, or, best where jurors err independently, the log odds of it."""


class Settings(PartsSettings):
    """The jury."""

    kind: Literal["jury"] = "jury"
    """The name of this plug-in."""
    judges: Sequence[Juror]
    """The settings of at least two judges; beside its own, each may have a `name` and a `weight`."""

    @model_validator(mode="after")
    def _has_votes(self) -> "Settings":
        for number, juror in enumerate(self.judges, 1):
            if juror.weight < 0:
                raise ValueError(f"juror {juror.name or number} has the weight {juror.weight:g}; wanted 0 or more")
            if juror.kind in ("rule", "recorded"):
                raise ValueError(
                    f"juror {juror.name or number} is a `{juror.kind}` judge, which asks no model and is not to be outvoted; "
                    "put it before the jury with `kind: first`, or take it out"
                )
        parts = list(self.parts().items())
        if same := [f"{a} and {b}" for n, (b, part) in enumerate(parts) for a, other in parts[:n] if part == other]:
            raise ValueError(f"jurors {same[0]} are the same judge, which is asked once and would vote twice; give it more `weight`")
        if not any(juror.weight for juror in self.judges):
            raise ValueError("the weights of all jurors are 0; give at least one juror a weight above 0")
        return self


class Judge:
    """See the module."""

    asks_model = False

    def __init__(self, settings: Settings, parts: Mapping[str, AnyJudge]) -> None:
        self.name = "jury"
        if inner := [key for key, part in parts.items() if weights_of([part])]:
            raise RecipeError(f"juror {inner[0]} is a jury itself; put its jurors into the outer one")
        named = [juror.name or part.name for juror, part in zip(settings.judges, parts.values(), strict=True)]
        if twice := [name for name in named if named.count(name) > 1]:
            raise RecipeError(f"two jurors are both called '{twice[0]}' in the tables; give each a `name` of its own")
        self._jurors = dict(zip(named, parts.values(), strict=True))
        self.weights = dict(zip(named, (juror.weight for juror in settings.judges), strict=True))

    def revision(self) -> str:
        return " | ".join(juror.revision() for juror in self._jurors.values())

    def requests(self, answers: int, comparisons: int) -> int:
        return sum(requests_of(juror, answers, comparisons) for juror in self._jurors.values())

    async def judge(self, prompt: Prompt, answers: Mapping[str, Answer], comparisons: Sequence[Comparison]) -> list[Verdict]:
        came = await settle(juror.judge(prompt, answers, comparisons) for juror in self._jurors.values())
        given = [replace(v, judge=name) for name, verdicts in zip(self._jurors, came, strict=True) for v in verdicts]
        place = {c.id: n for n, c in enumerate(comparisons)}
        return sorted(given, key=lambda v: place[v.comparison_id])
