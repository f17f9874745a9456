"""A number with its 95 % interval and the rows behind it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Z = 1.959963984540054
"""Of a two-sided 95 % interval."""

FEW = 30
"""Fewer rows than this say little, and the words say so."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """`value` is None where the rows do not determine it; `low` or `high` where the interval is open on that side."""

    value: float | None
    low: float | None
    high: float | None
    n: int


NOTHING = Estimate(None, None, None, 0)


def wilson(hits: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927). `n` may be an effective number of rows, and is above 0."""
    p, zz = hits / n, Z * Z
    middle = (p + zz / (2 * n)) / (1 + zz / n)
    half = Z / (1 + zz / n) * (p * (1 - p) / n + zz / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def share(hits: float, n: int) -> Estimate:
    """A share of independent rows. `hits` may count ties as halves; the interval is then wider than it need be."""
    if n == 0:
        return NOTHING
    low, high = wilson(min(max(hits, 0.0), n), n)
    return Estimate(hits / n, low, high, n)


@dataclass(frozen=True, slots=True)
class Tally:
    """A share of rows that come in clusters (the verdicts on one item), as sums that can be added up shard by shard.

    Rows of a cluster go together, so they are worth fewer than they are: the variance is that of a ratio between clusters
    (Cochran 1977, 6.3), and the interval is Wilson's with the effective number of rows (Korn and Graubard 1998), never
    more than there are.
    """

    sums: tuple[float, ...] = (0.0,) * 6
    """Hits, rows, clusters with rows, and the sums over clusters of hits², hits·rows and rows²."""

    @staticmethod
    def of(hits_C: Floats, rows_C: Floats) -> "Tally":
        """From the hits and rows of each cluster."""
        h, n = hits_C[rows_C > 0], rows_C[rows_C > 0]
        return Tally((float(h.sum()), float(n.sum()), float(len(n)), float(h @ h), float(h @ n), float(n @ n)))

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)))

    def estimate(self) -> Estimate:
        hits, rows, clusters, hh, hn, nn = self.sums
        if rows == 0:
            return NOTHING
        p = hits / rows
        spread = max(0.0, hh - 2 * p * hn + p * p * nn) / rows**2
        variance = spread * clusters / (clusters - 1) if clusters > 1 else 0.0
        effective = min(rows, p * (1 - p) / variance) if variance > 0 and 0 < p < 1 else min(rows, max(clusters, 1.0))
        low, high = wilson(p * effective, effective)
        return Estimate(p, low, high, round(rows))


def between(value: float | None, draws: Floats, n: int) -> Estimate:
    """A value with the middle 95 % of its resamples; resamples that do not determine it are left out, and over half such
    leave the interval open."""
    if value is None or not np.isfinite(value):
        return Estimate(None, None, None, n)
    known = draws[np.isfinite(draws)]
    if len(known) * 2 < len(draws) or not len(known):
        return Estimate(float(value), None, None, n)
    low, high = np.percentile(known, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high), n)


def in_words(estimate: Any, digits: int = 1) -> str:
    """A share as `plain` gives it, in a sentence: with its interval and its rows."""
    if estimate["value"] is None:
        return "an unknown share"
    low, high = ("open" if estimate[end] is None else f"{estimate[end]:.{digits}%}" for end in ("low", "high"))
    return f"{estimate['value']:.{digits}%} ({low} to {high}, n={estimate['n']})"


def plain(value: Any) -> Any:
    """Estimates and NumPy's numbers inside dicts and lists as plain JSON values; what is not finite becomes None."""
    if isinstance(value, Estimate):
        return {"value": plain(value.value), "low": plain(value.low), "high": plain(value.high), "n": value.n}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value
