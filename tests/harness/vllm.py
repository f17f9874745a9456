"""vLLM in tests: a stand-in that is told how to fail, and what the tests of the real server need.

    fake = FakeVllm(tmp_path, monkeypatch)      every `engine: vllm` then starts the stand-in, in half a second
    fake.does(die_after=10, lives=1)

The stand-in is this file, run by the script that PAIRSMITH_VLLM_PYTHON names: standard library alone, in processes of its
own, with a worker beside the server, as vLLM has workers.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
VLLM_PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
NO_VLLM = None if VLLM_PYTHON.exists() else "vLLM is not installed: make vllm"
"""Why tests of the real server are skipped."""


def alive(pid: int) -> bool:
    """Whether a process is there, a dead one that nobody has taken leave of included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class FakeVllm:
    """What the stand-in shall do, and what it was asked."""

    def __init__(self, folder: Path, monkeypatch: Any) -> None:
        self.folder = folder / "fake-vllm"
        self.folder.mkdir()
        script = self.folder / "python"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{self.folder}" "$@"\n')
        script.chmod(0o755)
        monkeypatch.setenv("PAIRSMITH_VLLM_PYTHON", str(script))
        # Logs of servers that fail are kept, by their owner's wish; here nobody wants them.
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        self.does()

    def does(self, **behaviour: Any) -> None:
        """broken, silent: never healthy. taken: so many starts find their port in use. die_after, dead_after: requests until it is
        gone, or alive with a dead engine; `lives` that end so (all when left out). stubborn: its worker does not heed SIGTERM."""
        (self.folder / "does.json").write_text(json.dumps(behaviour))

    @property
    def starts(self) -> list[dict[str, Any]]:
        """argv, environment, pid and worker of each start."""
        return self._lines("starts")

    @property
    def asked(self) -> list[dict[str, Any]]:
        """Chat requests that arrived, answered or not, and calls for adapters."""
        return self._lines("asked")

    def _lines(self, name: str) -> list[dict[str, Any]]:
        file = self.folder / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def make_vllm_model(folder: Path, seed: int = 0) -> Path:
    """The tiny chat model with attention heads of 32: with its usual 16, vLLM's CPU build dies on the first request."""
    import torch
    from transformers import AutoConfig, LlamaForCausalLM

    from tests.harness.tiny_model import make_tiny_chat_model

    make_tiny_chat_model(folder, seed)
    config = AutoConfig.from_pretrained(folder)
    config.num_attention_heads = config.num_key_value_heads = 2
    config.head_dim = 32
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_adapter(model: Path, folder: Path, rank: int = 4, seed: int = 0) -> Path:
    """A LoRA adapter with random weights that changes what the model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=16 * rank, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(LlamaForCausalLM.from_pretrained(model), config).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Process:
    pid: int
    group: int
    mib: float
    """Memory that is its own, and its share of what it shares."""
    title: str
    """As it calls itself: vLLM's call themselves VLLM::EngineCore and the like."""
    environment: dict[str, str]


def processes(marker: str) -> list[Process]:
    """The processes with this text in their command line, and all in their groups: servers and their guardians."""
    found = [p for p in map(look_at, Path("/proc").glob("[0-9]*")) if p is not None]
    groups = {p.group for p in found if marker in p.title} - {os.getpgrp()}
    return [p for p in found if p.group in groups]


def look_at(place: Path) -> Process | None:
    """None where the process has ended, or is a zombie, or is somebody else's."""
    try:
        pid = int(place.name)
        title = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        variables = (place / "environ").read_bytes().decode(errors="replace").split("\0")
        memory = dict(line.split(":") for line in (place / "smaps_rollup").read_text().splitlines()[1:])
        environment = dict(v.split("=", 1) for v in variables if "=" in v)
        return Process(pid, os.getpgid(pid), int(memory["Pss"].split()[0]) / 1024, title, environment)
    except (OSError, KeyError):
        return None


def wait_until(condition: Any, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


# --- the stand-in itself, in its own process


def serve(folder: Path, argv: list[str]) -> None:
    does = json.loads((folder / "does.json").read_text())
    starts = folder / "starts"
    earlier = len(starts.read_text().splitlines()) if starts.exists() else 0
    doomed = earlier < does.get("lives", 1000)
    heed = "SIG_IGN" if does.get("stubborn") else "SIG_DFL"
    code = f"import signal, time; signal.signal(signal.SIGTERM, signal.{heed}); time.sleep(1000)"
    worker = subprocess.Popen([sys.executable, "-I", "-c", code])
    seen = {k: v for k, v in os.environ.items() if k.startswith(("VLLM_", "HF_", "CUDA_", "PYTHON", "DO_NOT"))}
    append(starts, {"argv": argv, "env": seen, "pid": os.getpid(), "worker": worker.pid})
    if does.get("broken"):
        print("(EngineCore pid=7) ERROR 11-22 10:53:48 [core.py:1] ValueError: no such weights", f"key={os.environ['VLLM_API_KEY']}")
        print(*(f"consequence {n}" for n in range(40)), sep="\n")
        sys.exit(3)
    if earlier < does.get("taken", 0):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    if does.get("silent"):
        print("still loading", flush=True)
        time.sleep(1000)
    server = Stand(("127.0.0.1", int(argv[argv.index("--port") + 1])), Handler)
    server.folder, server.limit = folder, {k: does[k] for k in ("die_after", "dead_after") if doomed and k in does}
    server.models = {argv[argv.index("--model") + 1], *(json.loads(a)["name"] for a in argv if a.startswith('{"name"'))}
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server.serve_forever()


def append(file: Path, row: dict[str, Any]) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps(row) + "\n")


class Stand(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
    folder: Path
    limit: dict[str, int]
    models: set[str]
    count = 0
    lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stand

    def do_GET(self) -> None:
        self.answer(503 if self.engine_is_dead() else 200, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            return self.answer(401, {"error": "Unauthorized"})
        with self.server.lock:
            append(self.server.folder / "asked", {"path": self.path, **body})
        if self.path.endswith("_lora_adapter"):
            change = self.server.models.add if "/load_" in self.path else self.server.models.discard
            change(body["lora_name"])
            return self.answer(200, {})
        with self.server.lock:
            self.server.count += 1
        if self.server.count > self.server.limit.get("die_after", 10**9):
            os._exit(9)  # as after kill -9: every connection breaks, and the worker stays
        if self.engine_is_dead():
            return self.answer(500, {"error": {"message": "EngineCore encountered an issue", "code": 500}})
        if body["model"] not in self.server.models:
            return self.answer(404, {"error": {"message": f"The model {body['model']} does not exist", "code": 404}})
        time.sleep(0.01)
        text = f"{body['model']}: {body['messages'][-1]['content']}"
        return self.answer(200, {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": {}})

    def engine_is_dead(self) -> bool:
        return self.server.count > self.server.limit.get("dead_after", 10**9)

    def answer(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2:])
