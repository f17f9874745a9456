"""How many prompts it takes to tell a difference from chance: the normal approximation, two-sided.

    n = ((z_alpha sqrt(p0 q0) + z_power sqrt(p1 q1)) / (p1 - p0))²          (Fleiss, Levin and Paik 2003, equation 2.3)

A win rate of 55 % against 50 % takes 783 prompts at alpha 0.05 and power 0.8. Ties, which count half, make it fewer; several
samples a prompt do not.
"""

from math import ceil, sqrt
from statistics import NormalDist

ALPHA, POWER = 0.05, 0.8


def prompts_needed(rate: float, against: float = 0.5, alpha: float = ALPHA, power: float = POWER) -> int:
    """Prompts for a share of `rate` to be told from `against` with this power. ValueError where they are equal, or outside 0 to 1."""
    if not (0 < against < 1 and 0 <= rate <= 1) or rate == against:
        raise ValueError(f"wanted two different shares, found {rate} and {against}")
    return ceil(_n(rate, against, alpha, power) - 1e-9)


def smallest_rate(prompts: int, against: float = 0.5, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """The share above `against` that so many prompts can tell from it; None where not even 1 would do."""
    if prompts < 1 or _n(1.0, against, alpha, power) > prompts:
        return None
    low, high = against, 1.0
    for _ in range(60):  # halved so often, the two ends are one number
        middle = (low + high) / 2
        low, high = (low, middle) if middle > against and _n(middle, against, alpha, power) <= prompts else (middle, high)
    return high


def _n(rate: float, against: float, alpha: float, power: float) -> float:
    z, normal = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    return float(((z * sqrt(against * (1 - against)) + normal * sqrt(rate * (1 - rate))) / (rate - against)) ** 2)
