"""The identity loop on a demo model: pairs, QLoRA-DPO, and what the model says of itself afterwards, on the development split."""

from pathlib import Path

import pytest

from tests.bench.identity import WHO, run_cell

pytestmark = pytest.mark.server


