"""What a recipe holds its judge to."""

from typing import Literal

from pydantic import Field

from pipeline.check import Closed


class Thresholds(Closed):
    """Held against the figures themselves, not against the ends of their intervals. What is left out is not asked."""

    min_agreement: float | None = Field(None, ge=0, le=1)
    """Least raw agreement with people; without people, between any two judges. People that a run asked count by the comparisons
    that were drawn by chance, where there are such: the doubtful ones are harder than the rest."""
    min_kappa: float | None = Field(None, ge=-1, le=1)
    """Least Cohen's kappa, with whom the agreement is."""
    max_flip: float | None = Field(None, ge=0, le=1)
    """Most of the comparisons shown in both orders that may be decided the other way round when the order changes."""
    max_invalid: float | None = Field(None, ge=0, le=1)
    """Most of the verdicts that may be invalid."""
    max_ties: float | None = Field(None, ge=0, le=1)
    """Most of the valid verdicts that may be ties."""
    max_first_position_bias: float | None = Field(None, ge=0, le=0.5)
    """How far the share of wins of the answer shown first may be from one half, to either side."""
    otherwise: Literal["stop", "people"] = "stop"
    """What a missed figure does: `stop` publishes nothing. With `people` a figure of the judge's own (flips, invalid verdicts, ties,
    position) that is missed is taken again over the comparisons that no person decided: once people decided the doubtful ones,
    the run is published."""

    @property
    def asks(self) -> bool:
        """Whether anything is held against them."""
        return self.model_copy(update={"otherwise": "stop"}) != Thresholds()
