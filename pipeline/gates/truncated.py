"""An answer was cut off at max_tokens: a model must not learn to stop, or to be preferred, in mid-sentence."""

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.settings import PluginSettings

DEFAULT = True


class Settings(PluginSettings):
    """Which side must be whole."""

    rejected: bool = True
    """Whether a cut rejected answer drops the pair too; a chosen one always does."""


def check(pairs: pa.Table, settings: Settings) -> pa.Array:
    rejected = pc.if_else(pc.equal(pairs["finish_rejected"], "length"), "truncated_rejected", None)
    otherwise = rejected if settings.rejected else pa.nulls(len(pairs), pa.string())
    return pc.if_else(pc.equal(pairs["finish_chosen"], "length"), "truncated_chosen", otherwise)
