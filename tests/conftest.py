"""What tests of several rooms share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.harness.argilla import ArgillaServer, require_argilla

# For torch, in this process and in those that tests start: two test processes with two spinning threads each share two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples every time, however busy the machine: a test that fails, fails again.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chat model with 0.2M random weights; not to be written to."""
    pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")
    from tests.harness.tiny_model import make_tiny_chat_model

    return make_tiny_chat_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def argilla_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArgillaServer]:
    """A running argilla-server that all tests share: each works in a workspace of its own, and leaves it running."""
    require_argilla()
    with ArgillaServer(tmp_path_factory.mktemp("argilla") / "home") as server:
        yield server
