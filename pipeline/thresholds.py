"""What a recipe holds its judge to."""

from pydantic import Field

from pipeline.check import Closed


class Thresholds(Closed):
    """Held against the figures themselves, not against the ends of their intervals. What is left out is not asked."""

    min_agreement: float | None = Field(None, ge=0, le=1)
    """Least raw agreement with people; without people, between any two judges."""
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
