"""Runs a server and ends it, whatever becomes of who asked for it: `python -I _guardian.py GRACE COMMAND …`.

Standard input is a pipe from us. When it ends, because we closed it or because we were killed, the server's whole process
group gets SIGTERM and, GRACE seconds later, SIGKILL. A server that ends by itself takes the rest of its group along (vLLM's
workers outlive it for seconds), and its exit code becomes the guardian's. Nothing but the standard library.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

_LOOK = 0.1
"""Seconds between two looks at the server."""

_ORPHANED = 0.5
"""Seconds that the rest of a group has to end by itself when its leader has ended."""


def main(grace: float, command: list[str]) -> int:
    parent = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what the server leaves behind becomes our child, so that we see it end
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_guardian)  # noqa: S603
    try:
        # Whatever was forked from us may hold the pipe open after our death; another parent gives that death away.
        while server.poll() is None and os.getppid() == parent and not _pipe_ended():
            pass
        code = server.returncode or 0
    finally:
        _end(server, grace)
    return code if code >= 0 else 128 - code


def _end(server: "subprocess.Popen[bytes]", grace: float) -> None:
    """End the group: kindly at first, unless its leader is dead already."""
    until = time.monotonic() + grace if server.poll() is None else 0.0
    _signal(server, signal.SIGTERM)
    while _anybody_left(server):
        if server.returncode is not None:
            until = min(until, time.monotonic() + _ORPHANED)
        if time.monotonic() >= until:
            _signal(server, signal.SIGKILL)
        time.sleep(0.02)


def _anybody_left(server: "subprocess.Popen[bytes]") -> bool:
    if server.poll() is not None:
        # Its dead children are ours now, and count as alive until we have taken leave of them.
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    return _signal(server, 0)


def _signal(server: "subprocess.Popen[bytes]", number: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, number)
        return True
    return False


def _pipe_ended() -> bool:
    ready, _, _ = select.select([0], [], [], _LOOK)
    return bool(ready) and not os.read(0, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _die_with_guardian() -> None:
    _prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: should somebody kill the guardian itself


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
