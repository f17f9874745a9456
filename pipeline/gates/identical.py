"""Chosen and rejected say the same, but for white space."""

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.settings import PluginSettings

DEFAULT = True


class Settings(PluginSettings):
    """Nothing to set."""


def check(pairs: pa.Table, settings: Settings) -> pa.Array:
    chosen, rejected = (pc.replace_substring_regex(pc.utf8_trim_whitespace(pairs[side]), r"\s+", " ") for side in ("chosen", "rejected"))
    return pc.if_else(pc.equal(chosen, rejected), "identical", None)
