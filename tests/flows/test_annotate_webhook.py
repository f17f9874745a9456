"""The listener: a signed call makes a pull soon after it, any other call nothing at all."""

import json
import socket
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

import pytest

from flows.annotate_webhook import LONGEST, Debounced, app_of, listening
from pipeline.backends._argilla_webhooks import Hook
from pipeline.errors import BackendAway, RecipeError
from tests.harness.annotators import make_run
from tests.harness.waiting import wait_for

pytestmark = pytest.mark.slow  # one by one they are quick, together they are seconds

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cyE="
RECORD = {"id": "r1", "external_id": "t1", "dataset": {"name": "made-choice", "workspace": {"name": "pairsmith"}}}
COMPLETED = json.dumps({"type": "record.completed", "timestamp": "2026-01-01T00:00:00Z", "data": RECORD}).encode()


def signed(body: bytes, secret: str = SECRET, at: datetime | None = None) -> dict[str, str]:
    from standardwebhooks.webhooks import Webhook

    when = at or datetime.now(UTC)
    made = Webhook(secret).sign("msg_1", when, body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(int(when.timestamp())), "webhook-signature": made}


@pytest.fixture
def called():
    from starlette.testclient import TestClient

    calls: list[int] = []
    hook = Hook("h", "http://127.0.0.1", SECRET)
    return TestClient(app_of(lambda: hook, lambda: calls.append(1))), calls


def test_a_signed_call_is_taken(called):
    client, calls = called
    assert client.post("/", content=COMPLETED, headers=signed(COMPLETED)).status_code == 204
    assert calls == [1]


@pytest.mark.parametrize(
    "headers",
    [{}, signed(COMPLETED, "whsec_" + "b3RoZXI="), signed(COMPLETED + b" "), signed(COMPLETED, at=datetime(2020, 1, 1, tzinfo=UTC))],
    ids=["unsigned", "by another", "of another text", "of long ago"],
)
def test_any_other_call_is_refused_and_does_nothing(called, headers):
    client, calls = called
    assert client.post("/", content=COMPLETED, headers=headers).status_code == 401
    assert calls == []


def test_a_call_without_end_is_not_read_to_it(called):
    client, calls = called
    assert client.post("/", content=b"x" * (LONGEST + 1)).status_code == 413
    assert client.get("/").status_code == 405
    assert calls == []


def test_many_calls_are_one_pull_at_once_and_one_at_the_end():
    done: list[float] = []
    pulls = Debounced(lambda: done.append(time.monotonic()), 0.3)
    for _ in range(20):
        pulls.call()
        time.sleep(0.005)
    wait_for(lambda: len(done) == 2, 10, pause=0.01)
    time.sleep(0.5)
    pulls.close()
    assert len(done) == 2
    assert done[1] - done[0] > 0.28


def test_what_fails_for_now_is_done_again_without_another_call():
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise BackendAway("away")

    pulls = Debounced(work, 0.02)
    pulls.call()
    wait_for(lambda: len(tries) == 3, 10, pause=0.01)
    time.sleep(0.1)
    pulls.close()
    assert len(tries) == 3


@pytest.fixture
def argilla(monkeypatch):
    """What an Argilla server says of webhooks, and what it was asked."""
    asked: list[tuple[str, str, dict]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
            asked.append((self.command, self.path, body))
            said = json.dumps({"id": "h1", "secret": SECRET, "items": [], "version": "2.8.0", **body}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_DELETE = do_PATCH = answer

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("ARGILLA_API_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("ARGILLA_API_KEY", "owner.key")
    yield asked
    server.shutdown()
    server.server_close()


def test_argilla_is_told_where_to_call_and_at_the_end_not_to(tmp_path, argilla):
    made = make_run(tmp_path / "run", ["tie"], backend="argilla")
    pulled: list[int] = []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with listening(made.run.path, port, None, lambda: pulled.append(1)):
        told = next(body for method, path, body in argilla if method == "POST")
        assert (told["url"], told["events"]) == (f"http://127.0.0.1:{port}", ["record.completed"])
        with urlopen(Request(told["url"], COMPLETED, signed(COMPLETED)), timeout=10) as reply:
            assert reply.status == 204
        wait_for(lambda: pulled, 10, pause=0.01)
    assert argilla[-1][:2] == ("DELETE", "/api/v1/webhooks/h1")


def test_behind_another_name_argilla_is_told_that_name(tmp_path, argilla):
    made = make_run(tmp_path / "run", ["tie"], backend="argilla")
    with listening(made.run.path, 0, "https://pairs.example/hook", lambda: None):
        assert next(body["url"] for method, _, body in argilla if method == "POST") == "https://pairs.example/hook"


def test_a_port_that_is_taken_is_named(tmp_path, argilla):
    made = make_run(tmp_path / "run", ["tie"], backend="argilla")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RecipeError, match=f"--webhook {port}"), listening(made.run.path, port, None, lambda: None):
            pass


def test_sheets_call_nobody(tmp_path):
    made = make_run(tmp_path / "run", ["tie"])
    with pytest.raises(RecipeError, match="leave --webhook out"), listening(made.run.path, 0, None, lambda: None):
        pass
