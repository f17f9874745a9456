"""What tests of several rooms share."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.harness.argilla import ArgillaServer, require_argilla

# For torch, in this process and in those that tests start: two test processes with two spinning threads each share two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples every time, however busy the machine: a test that fails, fails again.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


STAY_TOGETHER = {
    "vllm": ("tests/pipeline/engines/test_vllm_server.py", "tests/pipeline/evaluate/test_serving_vllm.py", "tests/flows/test_demo.py"),
    "argilla": ("tests/harness/test_argilla", "tests/pipeline/annotate/", "tests/pipeline/backends/"),
    "prefect": ("tests/flows/",),
}
"""Under `--dist loadgroup`, the tests of a group go to one process, which starts what they share once; two servers of vLLM are never
up because two tests wanted one. The first group with the beginning of a test's path has it; a test of no group goes to whoever is
free. By paths and not by marks: pytest-xdist 3.8 does not hear of marks from pytest 9.2."""


def group_of(test: str) -> str:
    return next((name for name, places in STAY_TOGETHER.items() if test.startswith(places)), test)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Groups(config, log) if config.getoption("dist") == "loadgroup" else None


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
