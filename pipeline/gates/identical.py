"""Chosen and rejected say the same, but for white space."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.settings import PluginSettings

DEFAULT = True


class Settings(PluginSettings):
    """Nothing to set."""


def check(pairs: pa.Table, settings: Settings) -> pa.Array:
    chosen, rejected = (pc.utf8_trim_whitespace(pairs[side]) for side in ("chosen", "rejected"))
    # Folding white space would take a third of the pair stage's time; texts whose ends differ need none of it.
    alike = [pc.equal(*(pc.utf8_slice_codeunits(t, *end) for t in (chosen, rejected))) for end in ((0, 1), (-1, None))]
    at = np.flatnonzero(pc.and_(*alike).to_numpy())
    folded = (pc.replace_substring_regex(text.take(at), r"\s+", " ") for text in (chosen, rejected))
    identical = np.zeros(len(pairs), dtype=bool)
    identical[at] = pc.equal(*folded).to_numpy()
    return pc.if_else(pa.array(identical), "identical", None)
