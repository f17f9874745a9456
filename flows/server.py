"""A Prefect server of our own where PREFECT_API_URL names none: on this machine, for this process, behind a key.

Prefect can start a temporary server by itself; that one outlives a `kill -9` of ours and prints pages of traceback when
it ends (3.8.8). Ours dies with its parent, writes to a log file, and refuses whoever does not have its key.
"""

import base64
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PairsmithError

if TYPE_CHECKING:
    import httpx

_START_SECONDS = 120
"""A first start creates Prefect's database; on two busy cores that took 12 s."""


class ServerError(PairsmithError):
    """The Prefect server does not start or does not answer."""


@contextmanager
def prefect_api(*, schedules: bool = False) -> Iterator[str]:
    """The URL of a Prefect server that answers: the one in PREFECT_API_URL, or one started here and stopped at the end.

    With `schedules` the started one also runs Prefect's services, which late and scheduled runs need.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        _check(url)
        yield url
        return
    with _own_server(schedules) as url:
        yield url


@contextmanager
def _own_server(schedules: bool) -> Iterator[str]:
    port, key = _free_port(), f"pairsmith:{secrets.token_urlsafe(24)}"
    url = f"http://127.0.0.1:{port}/api"
    mode = {} if schedules else {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1", "PREFECT_UI_ENABLED": "0"}
    ours = {
        "PREFECT_SERVER_API_AUTH_STRING": key,
        "PREFECT_API_AUTH_STRING": key,
        # Prefect reports usage to its makers unless told otherwise.
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **mode,
    }
    log = _log_file()
    args = ["--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    with log.open("wb") as output:
        server = subprocess.Popen(  # noqa: S603 - our own interpreter, with arguments that nobody else writes
            [sys.executable, "-m", "uvicorn", *args],
            env={**os.environ, **ours, "PREFECT_API_URL": url},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    before = {name: os.environ.get(name) for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")}
    try:
        _wait(url, server, log)
        os.environ.update({"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": key})
        _reread_settings()
        yield url
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        _stop(server)


def _reread_settings() -> None:
    """Prefect reads the environment once, when it is imported: a schedule that was checked first would hide our server from it."""
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _die_with_parent() -> None:
    # PR_SET_PDEATHSIG: the kernel ends the server when we are killed and cannot. A new process group keeps Ctrl-C for us.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    os.setpgrp()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    import httpx

    until = time.monotonic() + _START_SECONDS
    with httpx.Client() as client:  # one for all looks: each makes a TLS context, 30 ms of a core that the server needs
        while not _answers(url, client):
            if server.poll() is not None or time.monotonic() > until:
                end = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise ServerError(
                    f"the Prefect server does not start: {' | '.join(end) or 'no message'}; see {log}, "
                    "or set PREFECT_API_URL to one that runs"
                )
            time.sleep(0.05)


def _check(url: str) -> None:
    import httpx

    key, login = os.environ.get("PREFECT_API_KEY"), os.environ.get("PREFECT_API_AUTH_STRING", "").encode()
    given = f"Bearer {key}" if key else f"Basic {base64.b64encode(login).decode()}"
    if not _answers(url):
        raise ServerError(
            f"no Prefect server answers at PREFECT_API_URL={url}; start it with `prefect server start`, or unset the variable"
        )
    if httpx.get(f"{url}/admin/version", timeout=30, headers={"Authorization": given}).status_code in (401, 403):
        raise ServerError(f"the Prefect server at {url} refuses your key; set PREFECT_API_AUTH_STRING (user:password) or PREFECT_API_KEY")


def _answers(url: str, client: "httpx.Client | None" = None) -> bool:
    import httpx

    try:
        # A server that asks for a key (401) is there; whether ours is right, Prefect will say.
        return (client or httpx).get(f"{url}/health", timeout=5).status_code in (200, 401)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _log_file() -> Path:
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    home.mkdir(parents=True, exist_ok=True)
    return home / "pairsmith-server.log"
