"""One vLLM server of our own: started when the first engine needs it, mended when it dies, stopped when the last has closed.

Everything here blocks and is called in threads: sessions with different event loops share one server. It runs under a
guardian (_guardian.py), which ends it when we do, however that comes about. Its log is a temporary file that only its owner
reads; it is named in the error and kept when something fails, and removed otherwise.
"""

import errno
import http.client
import math
import os
import re
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import orjson

from pipeline.engines import _vllm_command as command
from pipeline.engines import _vllm_plan as plan
from pipeline.engines._vllm_command import Adapter, Launch
from pipeline.errors import EngineError

_GRACE = 10.0
"""Seconds from SIGTERM to SIGKILL; vLLM takes one or two."""

_LOOK = 0.1
"""Seconds between two looks at a server that starts."""

_SILENCE = 30.0
"""Seconds without an answer to /health after which a server that runs counts as dead."""

_TAIL = 15
"""Lines of the log in an error."""

_NOISE = re.compile(r"nanobind|leaked (function|type|instance)|^ - |resource_tracker|warnings\.warn|^\s*[\^~]+$")
"""What Python and xgrammar say at every end of a server."""

_PREFIX = re.compile(r"^\(\w+ pid=\d+\) |(?:ERROR|WARNING|INFO) \d\d-\d\d [\d:]+ \[[^\]]+\] ?")
_CAUSE = re.compile(r"^\s*[\w.]*(?:Error|Exception)\b.*:")

_PORT_TAKEN = os.strerror(errno.EADDRINUSE).encode()

_SERVERS: WeakValueDictionary[Launch, "Server"] = WeakValueDictionary()
"""A server is here as long as an engine has it."""

_REGISTRY = Lock()

_ONE_STARTS = Lock()
"""vLLM measures a GPU's free memory while it starts; another server that starts at the same time would spoil that."""


class Server:
    """What the engines of equal launches share. `open`, `mend` and `close` may be called from any thread."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.key = secrets.token_urlsafe(24)
        self.url = ""
        self.life = 0
        """How often it was started: what failed in an earlier life is asked again in this one."""
        self.alone = False
        """Whether other servers of the process wait for their turn, so that this one may have the whole device."""
        self.expected = True
        """Whether it runs or will be started: such servers share what the machine has."""
        self._adapters: WeakKeyDictionary[object, Adapter] = WeakKeyDictionary()
        self._users: WeakSet[object] = WeakSet()
        self._loaded: dict[str, Adapter] = {}
        self._rank = 0
        self._late: float = 0
        """Adapters that may still be loaded in this life."""
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = 0
        self._log: Path | None = None
        self._lock = Lock()

    @staticmethod
    def of(launch: Launch) -> "Server":
        """The server of this process with that launch."""
        with _REGISTRY:
            server = _SERVERS.get(launch)
            if server is None:
                server = _SERVERS[launch] = Server(launch)
            # Equal launches may differ in what says how long and how often to try: the newest counts.
            server.launch, server.expected = launch, True
            return server

    @staticmethod
    def plan(launches: Iterable[Launch], *, in_turn: bool) -> None:
        """Say of the servers with these launches whether they are up one after the other or together."""
        with _REGISTRY:
            for launch in launches:
                if server := _SERVERS.get(launch):
                    server.alone = in_turn

    def register(self, owner: object, adapter: Adapter | None) -> None:
        """Say before the start which adapter will be asked for: LoRA must be switched on, and fitted, when the server starts."""
        if adapter is not None:
            self._adapters[owner] = adapter

    def open(self, owner: object, adapter: Adapter | None) -> None:
        """Start the server where it does not run, with the owner's adapter. Raises EngineError with the log's last lines."""
        self._users.add(owner)
        self.register(owner, adapter)
        with self._lock:
            self.expected = True
            if self._process is None or self._process.poll() is not None:
                self._restarts = 0
                self._start()
            if adapter is not None and adapter.name not in self._loaded:
                self._load(adapter)

    def close(self, owner: object) -> None:
        """Stop the server when nobody else has it open, even while it starts; else unload the owner's adapter."""
        self._users.discard(owner)
        with self._lock:
            adapter = self._adapters.pop(owner, None)
            if not self._users:
                self._stop()
                self.expected = False
            elif adapter is not None and adapter.name in self._loaded and adapter not in self._adapters.values():
                self._call("/v1/unload_lora_adapter", {"lora_name": adapter.name})
                del self._loaded[adapter.name]

    def mend(self, life: int) -> bool:
        """Whether a request that failed in that life shall be asked again, since the server was dead and lives again.

        Raises EngineError with the log's last lines when it died more than `restarts` times since it was opened.
        """
        with self._lock:
            if life != self.life:
                return True
            if self._process is not None and self._process.poll() is None and self._is_healthy(_SILENCE):
                return False
            if self._restarts >= self.launch.restarts:
                died = f"died {self._restarts + 1} times" if self._restarts else "died"
                raise self._error(f"{died} while it replied, and `restarts` allows {self.launch.restarts}")
            self._restarts += 1
            self._stop()
            self._start()
            return True

    def _start(self) -> None:
        python = command.interpreter()
        cpu = command.is_cpu_build(python)
        if cpu:
            self._start_once(python, cpu=True)
        else:
            with _ONE_STARTS:
                self._start_once(python, cpu=False)

    def _start_once(self, python: Path, *, cpu: bool) -> None:
        adapters = list({a.name: a for a in self._adapters.values()}.values())
        self._run(python, adapters, cpu=cpu)
        if not self._wait(port_again=True):
            self._run(python, adapters, cpu=cpu)
            self._wait(port_again=False)
        self._loaded, self._rank = {a.name: a for a in adapters}, command.lora_rank(adapters)
        self._late = command.LATE if cpu else math.inf
        self.life += 1

    def _run(self, python: Path, adapters: list[Adapter], *, cpu: bool) -> None:
        launch = self.launch
        port, beside = _free_port(), [launch] if self.alone else _together()
        sizes = {"length": plan.longest(launch), "kv_gib": plan.cpu_kv_gib(launch)} if cpu else {"length": None, "kv_gib": 0.0}
        given = command.arguments(launch, port=port, cpu=cpu, share=plan.shares(beside)[launch], adapters=adapters, **sizes)
        unbound = [other for other in beside if not other.device]
        cores = plan.split_cores(_cores(), len(unbound), unbound.index(launch)) if cpu and launch in unbound else None
        descriptor, name = tempfile.mkstemp(prefix="pairsmith-vllm-", suffix=".log")
        self._log = Path(name)
        with os.fdopen(descriptor, "wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, with arguments that were checked
                command.guarded(python, given, _GRACE),
                env=command.environment(launch, key=self.key, cpu=cpu, cores=cores, lora=bool(adapters)),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we stop the server when what has arrived is stored
            )
        self.url = f"http://127.0.0.1:{port}/v1"

    def _wait(self, *, port_again: bool) -> bool:
        """Until it is healthy. False, with `port_again`, where it ended because somebody took its port between our look for a free
        one and its own, with seconds of imports between the two."""
        until = time.monotonic() + self.launch.start_timeout
        assert self._process is not None
        while not self._is_healthy(5.0):
            if not self._users:
                self._stop()
                raise EngineError(f"the vLLM server of {self.launch.model} was closed while it started; run the same command again")
            code = self._process.poll()
            if code is not None and port_again and self._log is not None and _PORT_TAKEN in self._log.read_bytes():
                self._stop()
                return False
            if code is not None or time.monotonic() > until:
                what = f"ended with code {code}" if code is not None else f"was not healthy within {self.launch.start_timeout:g} s"
                raise self._error(f"{what} when it was started")
            time.sleep(_LOOK)
        return True

    def _error(self, what: str) -> EngineError:
        lines = last_lines(self._log, hide=self.key) if self._log else []
        log, self._log = self._log, None  # from here on it is the user's
        self._stop()
        shown = "\n    ".join(lines) or "(nothing)"
        return EngineError(f"the vLLM server of {self.launch.model} {what}; see {log}, of which these are the last lines:\n    {shown}")

    def _stop(self) -> None:
        process, self._process, self._loaded = self._process, None, {}
        if process is not None:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()  # the guardian ends when nobody is left, after _GRACE seconds at most
        if self._log is not None:
            self._log.unlink(missing_ok=True)
            self._log = None

    def _load(self, adapter: Adapter) -> None:
        """An adapter that was not known when the server started."""
        if adapter.rank > self._rank or self._late < 1:
            # Whatever is in flight fails, and is asked again in the server's next life.
            self._stop()
            self._start()
        else:
            self._call("/v1/load_lora_adapter", {"lora_name": adapter.name, "lora_path": str(adapter.path)})
            self._loaded[adapter.name] = adapter
            self._late -= 1

    def _call(self, path: str, body: dict[str, str]) -> None:
        status, text = self._ask("POST", path, 120.0, orjson.dumps(body))
        if status != 200:
            raise EngineError(f"vLLM refused {path} for {body['lora_name']} (HTTP {status} {text[:300]}); look at the adapter's folder")

    def _is_healthy(self, timeout: float) -> bool:
        return self._ask("GET", "/health", timeout)[0] == 200

    def _ask(self, method: str, path: str, timeout: float, body: bytes | None = None) -> tuple[int, str]:
        """Status and text of an answer; status 0 where there is none."""
        port = int(self.url.removesuffix("/v1").rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()


def last_lines(log: Path, hide: str) -> list[str]:
    """The end of a server's log without its noise; before it, the first error, of which the end is often a mere consequence."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2**20))
        text = file.read().decode("utf-8", "replace").replace(hide, "***")
    lines = [_PREFIX.sub("", _PREFIX.sub("", line)).rstrip()[:300] for line in text.splitlines()]
    lines = [line for line in lines if line and not _NOISE.search(line)]
    tail = lines[-_TAIL:]
    cause = next((line for line in lines if _CAUSE.match(line)), None)
    return tail if cause is None or cause in tail else [cause, "…", *tail]


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _together() -> list[Launch]:
    """Of the servers of this process that may be up at the same time."""
    with _REGISTRY:
        return [launch for launch, server in _SERVERS.items() if server.expected and not server.alone]
