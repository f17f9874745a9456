"""Gate: pairs pass every gate, in their order, or leave under the first one's reason."""

from collections.abc import Mapping
from typing import Any

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
    reasons = pa.nulls(len(pairs), pa.string())
    for name, settings in gates.items():
        reasons = pc.coalesce(reasons, load_plugin("gates", name).check(pairs, settings))
    passed = pc.is_null(reasons)
    stopped = pc.invert(passed)
    found = reasons.combine_chunks() if isinstance(reasons, pa.ChunkedArray) else reasons
    return pairs.filter(passed), pairs.filter(stopped), pc.drop_null(found).to_pylist()
