"""Waiting for what another process does."""

import subprocess
import time
from collections.abc import Callable
from typing import Any


def wait_for(what: Callable[[], Any], seconds: float = 120, process: "subprocess.Popen[Any] | None" = None, pause: float = 0.05) -> Any:
    """What `what` returns, once that is true. `process` must live on meanwhile."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < until, "waited in vain"
        time.sleep(pause)
    return found
