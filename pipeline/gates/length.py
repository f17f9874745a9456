"""An answer is shorter or longer than it may be, or one is so much longer than the other that length says it all."""

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.settings import PluginSettings

DEFAULT = False


class Settings(PluginSettings):
    """Lengths in characters."""

    min_chars: int = Field(1, ge=0)
    """Of the shorter answer."""
    max_chars: int = Field(20_000, ge=1)
    """Of the longer one."""
    max_times: float | None = Field(None, gt=1)
    """How many times as long as the other an answer may be."""


def check(pairs: pa.Table, settings: Settings) -> pa.Array:
    chosen, rejected = (pc.utf8_length(pairs[side]) for side in ("chosen", "rejected"))
    shorter, longer = pc.min_element_wise(chosen, rejected), pc.max_element_wise(chosen, rejected)
    limit = settings.max_times or float("inf")
    lopsided = pc.greater(longer, pc.multiply(pc.cast(pc.max_element_wise(shorter, 1), pa.float64()), limit))
    return pc.case_when(
        pc.make_struct(pc.less(shorter, settings.min_chars), pc.greater(longer, settings.max_chars), lopsided),
        "too_short",
        "too_long",
        "lopsided",
        pa.scalar(None, pa.string()),
    )
