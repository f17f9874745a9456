"""Too many pairs have the longer answer as chosen: a model trained on them learns to be long.

The pairs in which the chosen answer is the most times as long leave first, so what stays says the least about length
(judges and people prefer the longer answer in 60 to 70 % of pairs; 2404.04475, 2403.19159). Counted in each shard by itself.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.settings import PluginSettings

DEFAULT = False


class Settings(PluginSettings):
    """How often the longer answer may be the better one."""

    max_share: float = Field(0.5, ge=0, lt=1)
    """Of the pairs whose answers differ in length (in characters)."""


def check(pairs: pa.Table, settings: Settings) -> pa.Array:
    chosen, rejected = (pc.utf8_length(pairs[side]).to_numpy().astype(np.float64) for side in ("chosen", "rejected"))
    longer, shorter = chosen > rejected, chosen < rejected
    # Not a float's: 0.3 of ten shorter ones must leave room for what 0.3 / 0.7 times ten is, rounded down once.
    may_stay = int(settings.max_share * shorter.sum() / (1 - settings.max_share) + 1e-9)
    times = np.where(longer, chosen / np.maximum(rejected, 1), 0.0)
    leaves = np.zeros(len(pairs), dtype=bool)
    leaves[np.argsort(-times, kind="stable")[: max(int(longer.sum()) - may_stay, 0)]] = True
    return pc.if_else(pa.array(leaves), "longer", None)
