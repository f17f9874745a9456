"""A real argilla-server for tests: `ArgillaServer`, and `require_argilla()` at the top of a test that starts one itself.

Most tests share the one that the fixture `argilla_server` (tests/conftest.py) starts.
"""

from tests.harness.argilla.server import ArgillaServer, missing, password_of

__all__ = ["ArgillaServer", "password_of", "require_argilla"]


def require_argilla() -> None:
    """Skip the test that asks, with a sentence, where no server can be started."""
    import pytest

    if reason := missing():
        pytest.skip(reason)
