"""Gate: pairs pass every gate, in their order, or leave under the first one's reason."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.plugins import load_plugin, plugin_names
from pipeline.settings import Anything, PluginSettings, gate_settings


def standing_gates(recipe_gates: Mapping[str, Anything | bool | None]) -> dict[str, PluginSettings]:
    """The gates that stand by default, then those that the recipe adds, in its order; without those it switches off."""
    default = [g for g in plugin_names("gates") if load_plugin("gates", g).DEFAULT]
    settings = {gate: gate_settings(gate, recipe_gates.get(gate)) for gate in [*default, *(g for g in recipe_gates if g not in default)]}
    return {gate: given for gate, given in settings.items() if given is not None}


def gate(pairs: pa.Table, gates: Mapping[str, PluginSettings]) -> tuple[pa.Table, pa.Table, list[Any]]:
    """(kept, dropped, the reason of each dropped pair); kept and dropped together are the pairs, each in its order."""
    reason = np.full(len(pairs), None, dtype=object)
    at, left = np.arange(len(pairs)), pairs
    for name, settings in gates.items():
        # Each sees what the gates before let pass alone: a gate may look at all pairs together.
        found = load_plugin("gates", name).check(left, settings)
        stopped = np.array(pc.is_valid(found), dtype=bool)
        reason[at[stopped]] = pc.drop_null(found).to_pylist()
        if stopped.any():
            at, left = at[~stopped], left.filter(pa.array(~stopped))
    out = np.setdiff1d(np.arange(len(pairs)), at, assume_unique=True)
    return left, pairs.take(pa.array(out)), reason[out].tolist()
