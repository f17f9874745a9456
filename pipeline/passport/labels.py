"""What a judge says of an item, all its verdicts taken together; and what most people say."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.passport.estimate import Floats, Ints
from pipeline.passport.verdicts import Verdicts

MISSING = -1
"""No label: no verdict, or an invalid one. Never a tie."""

NAMES = ("A", "B", "tie")


@dataclass(frozen=True, slots=True)
class Cells:
    """Every judge on every item it saw (C), by the order shown: AB, BA and unknown."""

    item_C: Ints
    judge_C: Ints
    counts_C3K: Floats
    """Valid verdicts by order and choice."""
    asked_C3: Floats
    """Verdicts by order, the invalid ones included."""
    valid_label_C3: Ints
    """What was said in each order; MISSING where nothing valid was."""

    @property
    def label(self) -> Ints:
        """A cell's label: what was said in all the orders shown; a tie where they disagree, as MT-bench counts (2306.05685).

        MISSING where an order got no valid verdict: half an answer is none.
        """
        shown = self.asked_C3 > 0
        highest = np.where(shown, self.valid_label_C3, -9).max(axis=1)
        lowest = np.where(shown, self.valid_label_C3, 9).min(axis=1)
        return np.where(lowest == MISSING, MISSING, np.where(lowest == highest, lowest, 2))


def cells(v: Verdicts) -> Cells:
    """Group the verdicts by item and judge. Repeated verdicts in one order count by their plurality."""
    keys, cell_V = np.unique(v.item_V * len(v.judges) + v.judge_V, return_inverse=True)
    slot_V = cell_V * 3 + v.order_V
    size = len(keys) * 3
    asked = np.bincount(slot_V, minlength=size).astype(np.float64)
    valid = v.choice_V != MISSING
    counts = np.bincount(slot_V[valid] * 3 + v.choice_V[valid], minlength=size * 3).astype(np.float64).reshape(-1, 3)
    label = np.where(counts.sum(axis=1) == 0, MISSING, _plurality(counts, otherwise=2))
    return Cells(keys // len(v.judges), keys % len(v.judges), counts.reshape(-1, 3, 3), asked.reshape(-1, 3), label.reshape(-1, 3))


def label_table(v: Verdicts, c: Cells) -> NDArray[np.int8]:
    """I x J: every judge's label of every item."""
    labels_IJ = np.full((len(v.items), len(v.judges)), MISSING, np.int8)
    labels_IJ[c.item_C, c.judge_C] = c.label
    return labels_IJ


def plurality(labels_IJ: NDArray[np.int8]) -> NDArray[np.int8]:
    """I: what more of the judges say than anything else; MISSING where no choice stands alone at the top."""
    counts = np.stack([(labels_IJ == k).sum(axis=1) for k in range(3)], axis=1).astype(np.float64)
    found = np.where(counts.sum(axis=1) == 0, MISSING, _plurality(counts, otherwise=MISSING))
    return found.astype(np.int8)


def _plurality(counts: Floats, *, otherwise: int) -> Ints:
    """The choice with most counts in each row; `otherwise` where two or three share the top."""
    top = counts.max(axis=1, keepdims=True)
    return np.where((counts == top).sum(axis=1) > 1, otherwise, counts.argmax(axis=1))
