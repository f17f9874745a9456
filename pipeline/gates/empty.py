"""One of the two answers holds nothing but white space."""

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.settings import PluginSettings

DEFAULT = True


class Settings(PluginSettings):
    """Nothing to set."""


def check(pairs: pa.Table, settings: Settings) -> pa.Array:
    chosen, rejected = (pc.equal(pc.utf8_trim_whitespace(pairs[side]), "") for side in ("chosen", "rejected"))
    return pc.if_else(chosen, "empty_chosen", pc.if_else(rejected, "empty_rejected", None))
