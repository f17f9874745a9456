"""One Prefect server for all tests of the flows; with its services, which schedules need."""

import os
from collections.abc import Iterator

import pytest

from flows.server import prefect_api
from tests.harness.stub_server import StubServer, stub_server


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    with prefect_api(schedules=True):
        yield
    del os.environ["PREFECT_HOME"]


@pytest.fixture(scope="session")
def running_stub() -> Iterator[StubServer]:
    with stub_server() as server:
        yield server


@pytest.fixture
def stub(running_stub: StubServer) -> StubServer:
    running_stub.set_faults({})
    running_stub.set_latency(0.0)
    running_stub.reset()
    return running_stub
