"""What tests of several rooms share."""

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time, however busy the machine: a test that fails, fails again.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chat model with 0.2M random weights; not to be written to."""
    pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")
    from tests.harness.tiny_model import make_tiny_chat_model

    return make_tiny_chat_model(tmp_path_factory.mktemp("tiny") / "model")
