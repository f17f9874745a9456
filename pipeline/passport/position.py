"""What can be counted of a judge without anybody else: invalid verdicts, ties, flips, the place shown first, repeated runs."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.passport.estimate import Estimate, Tally
from pipeline.passport.labels import Cells, cells
from pipeline.passport.verdicts import Verdicts

NAMES = ("invalid", "ties", "flip", "half_flip", "first_position", "repeat_disagreement")


@dataclass(frozen=True, slots=True)
class Position:
    """Tallies of one judge, clustered by item; they add up shard by shard.

    `ties`: of the valid verdicts. `flip`: of the items shown in both orders, those where the other side won when the order
    changed; `half_flip`: where a win became a tie. `first_position`: of the decided verdicts on such items, those for the
    answer shown first. `repeat_disagreement`: of two verdicts on the same item in the same order, how often they differ.
    """

    verdicts: int
    items: int
    tallies: tuple[Tally, ...]

    def __add__(self, other: "Position") -> "Position":
        tallies = tuple(a + b for a, b in zip(self.tallies, other.tallies, strict=True))
        return Position(self.verdicts + other.verdicts, self.items + other.items, tallies)

    def estimates(self) -> dict[str, Estimate]:
        return {name: tally.estimate() for name, tally in zip(NAMES, self.tallies, strict=True)}


def positions(v: Verdicts, c: Cells) -> list[Position]:
    """One for each judge."""
    return [_position(c, c.judge_C == j) for j in range(len(v.judges))]


def positions_of_shards(shards: Iterable[Verdicts]) -> dict[str, Position]:
    """By judge, added up over shards. No item may stand in two of them."""
    found: dict[str, Position] = {}
    for v in shards:
        for judge, one in zip(v.judges, positions(v, cells(v)), strict=True):
            found[judge] = found[judge] + one if judge in found else one
    return found


def _position(c: Cells, kept_C: NDArray[np.bool_]) -> Position:
    counts, asked, labels = c.counts_C3K[kept_C], c.asked_C3[kept_C], c.valid_label_C3[kept_C]
    valid = counts.sum(axis=(1, 2))
    both = (labels[:, 0] >= 0) & (labels[:, 1] >= 0)
    decided = (labels[:, 0] < 2) & (labels[:, 1] < 2)
    differs = both & (labels[:, 0] != labels[:, 1])
    first = counts[:, 0, 0] + counts[:, 1, 1]
    sided = counts[:, :2, :2].sum(axis=(1, 2))
    n = counts.sum(axis=2)
    pairs = n * (n - 1) / 2
    agreeing = (counts * (counts - 1) / 2).sum(axis=2)
    one = both.astype(np.float64)
    tallies = (
        Tally.of(asked.sum(axis=1) - valid, asked.sum(axis=1)),
        Tally.of(counts[:, :, 2].sum(axis=1), valid),
        Tally.of((differs & decided).astype(np.float64), one),
        Tally.of((differs & ~decided).astype(np.float64), one),
        Tally.of(first * one, sided * one),
        Tally.of((pairs - agreeing).sum(axis=1), pairs.sum(axis=1)),
    )
    return Position(int(asked.sum()), int(kept_C.sum()), tallies)
