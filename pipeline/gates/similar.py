"""Chosen and rejected are nearly the same. Training on such pairs lowers the likelihood of both (likelihood displacement,
2410.08847)."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.settings import PluginSettings

DEFAULT = True


class Settings(PluginSettings):
    """How alike is too alike."""

    max_ratio: float = Field(0.95, gt=0, le=1)
    """1 - (insertions + deletions) / (both lengths), on characters; 1 is identical."""
    shortest: int = Field(20, ge=0)
    """Characters of the longer answer below which a pair passes: "56" and "58" are alike, and that is the point of them."""


def check(pairs: pa.Table, settings: Settings) -> pa.Array:
    from rapidfuzz import fuzz, process

    chosen, rejected = pairs["chosen"].to_pylist(), pairs["rejected"].to_pylist()
    # Scored only where it matters: below the cutoff rapidfuzz stops early and gives 0.
    ratios = process.cpdist(chosen, rejected, scorer=fuzz.ratio, score_cutoff=settings.max_ratio * 100)
    long = np.array([max(len(c), len(r)) >= settings.shortest for c, r in zip(chosen, rejected, strict=True)], dtype=bool)
    return pc.if_else(pa.array((ratios > 0) & long), "similar", None)
