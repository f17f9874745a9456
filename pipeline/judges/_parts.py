"""A judge that is made of judges: their settings, their names, and what is true of all such judges."""

from collections.abc import Sequence

from pydantic import Field, model_validator

from pipeline.judges import Judge
from pipeline.settings import Anything, JudgeSettings, PluginSettings

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_:/-]{0,80}$"


class PartSettings(PluginSettings, extra="allow"):
    """What a judge made of judges says of one of them; the other fields are that judge's own."""

    kind: str
    """The plug-in in pipeline/judges."""
    name: str | None = Field(None, pattern=_NAME)
    """Its name in the tables and, after `judge.`, its model's in the report; the judge's own and its number when left out."""


class PartsSettings(JudgeSettings):
    """Base of the settings of a judge made of judges."""

    judges: Sequence[PartSettings]
    """The settings of at least two judges, each with a `name` of its own if you like."""

    def parts(self) -> dict[str, Anything]:
        """The settings of each, by its name or its number from 1."""
        return {part.name or str(n): {"kind": part.kind, **(part.model_extra or {})} for n, part in enumerate(self.judges, 1)}

    @model_validator(mode="after")
    def _are_several(self) -> "PartsSettings":
        if len(self.judges) < 2:
            raise ValueError(f"it is made of at least two judges, and `judges` holds {len(self.judges)}; add one, or take it alone")
        names = [part.name or str(n) for n, part in enumerate(self.judges, 1)]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"two of its judges are called '{twice[0]}'; give each a `name` of its own")
        return self


def weights_of(parts: Sequence[Judge]) -> dict[str, float]:
    """How much the names in the verdicts of these judges count, where one of them says so."""
    return {name: weight for part in parts for name, weight in (getattr(part, "weights", None) or {}).items()}
