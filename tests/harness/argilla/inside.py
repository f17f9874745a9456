"""argilla-server with its redis and its worker, in one process group.

    python -m tests.harness.argilla.inside HOME PORT REDIS SOCKETS

Runs in the server's own environment, under `pipeline/engines/_guardian.py`, started by `server.py`. The worker is a fork of the
server that has imported everything: that saves the four seconds and 200 MB of a second import.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any


def main(home: Path, port: int, redis_server: str, sockets: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises the signal again when it is done
    environ = {"ARGILLA_HOME_PATH": str(home), "ARGILLA_REDIS_URL": f"unix://{sockets}/redis", "ARGILLA_SEARCH_ENGINE": "sqlite"}
    environ |= {"ARGILLA_AUTH_SECRET_KEY": (home / "secret").read_text(), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ.update(environ)
    try:
        start_redis(redis_server, sockets, home)
        serve(home, port)
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def start_redis(program: str, sockets: Path, home: Path) -> None:
    """It keeps nothing: a job that waits when all is killed (a webhook's call) is lost, which a real one would keep."""
    settings = {"port": "0", "unixsocket": str(sockets / "redis"), "save": "", "appendonly": "no", "dir": str(home), "loglevel": "warning"}
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    redis = subprocess.Popen([program, *words], preexec_fn=die_with_parent)
    while not (sockets / "redis").exists():
        if redis.poll() is not None:
            sys.exit(f"{program} has ended: the server cannot do without")
        time.sleep(0.01)


def serve(home: Path, port: int) -> None:
    import uvicorn
    from argilla_server._app import app
    from argilla_server.database import sync_engine
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from tests.harness.argilla import search_engine  # noqa: F401 - it registers itself

    @event.listens_for(Engine, "connect")
    def commit_quickly(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = NORMAL")

    make_owner(home)
    sync_engine.dispose()  # no connection is shared with the fork
    start_worker(home / "worker.txt")
    uvicorn.run(Counted(app), host="127.0.0.1", port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=1)


def make_owner(home: Path) -> None:
    """The user `owner`, with the password and the API key that lie in the home."""
    from argilla_server.contexts.accounts import hash_password
    from argilla_server.database import SyncSessionLocal
    from argilla_server.models import User, UserRole
    from sqlalchemy import select

    with SyncSessionLocal() as session:
        if session.scalar(select(User).where(User.username == "owner")) is None:
            password, key = ((home / name).read_text() for name in ("password", "api-key"))
            owner = {"first_name": "Owner", "username": "owner", "role": UserRole.owner}
            session.add(User(**owner, password_hash=hash_password(password), api_key=key))
            session.commit()
    SyncSessionLocal.remove()


def start_worker(log: Path) -> None:
    """As `argilla_server worker`, with one worker. A log of its own: at the end it complains that its redis has gone."""
    if os.fork():
        return
    with log.open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()
    import argilla_server.jobs.dataset_jobs
    import argilla_server.jobs.hub_jobs
    import argilla_server.jobs.webhook_jobs  # noqa: F401 - imported once here, and not in every job's fork
    from argilla_server.jobs.queues import DEFAULT_QUEUE, HIGH_QUEUE, REDIS_CONNECTION
    from rq import Worker

    class MortalWorker(Worker):
        def _install_signal_handlers(self) -> None:
            """None: it dies at once, and does not first look for a redis that has died beside it."""

        def main_work_horse(self, job: Any, queue: Any) -> Any:
            die_with_parent()  # rq gives each job's process a session of its own, which the end of our group does not reach
            return super().main_work_horse(job, queue)

    MortalWorker([DEFAULT_QUEUE, HIGH_QUEUE], connection=REDIS_CONNECTION).work(with_scheduler=True, logging_level="WARNING")
    os._exit(0)


class Counted:
    """The server, and `GET /harness/requests`: how many requests came, by method and path."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.seen: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/harness/requests":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
            await send({"type": "http.response.body", "body": json.dumps(self.seen).encode()})
            return
        if scope["type"] == "http":
            self.seen[f"{scope['method']} {scope['path']}"] += 1
        await self.app(scope, receive, send)


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
