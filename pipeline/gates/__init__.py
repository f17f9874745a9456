"""What a gate is: it looks at finished pairs and says which of them must not stay, and why.

A plug-in file defines `Settings`, `DEFAULT` (whether it stands when the recipe does not name it) and `check`.
"""

from typing import Any, Protocol

import pyarrow as pa


class Gate(Protocol):
    """The module of a gate, as its plug-in loader sees it."""

    DEFAULT: bool

    def check(self, pairs: pa.Table, settings: Any) -> pa.Array:
        """One value per pair, in their order: None to let it pass, or the reason it is dropped under. The pairs are those of
        a shard that passed the gates before."""
