"""What the server calls us for, and what is not its call."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from standardwebhooks.webhooks import Webhook

from pipeline.backends import make_backend
from pipeline.backends._argilla_webhooks import COMPLETED, CREATED, UPDATED, ForgedCall, Hook, register, unregister, verify
from pipeline.backends.argilla import Backend
from tests.harness.argilla import ArgillaServer
from tests.harness.waiting import wait_for
from tests.pipeline.backends.forms import choice_form, choice_task, choice_tasks
from tests.pipeline.backends.lossy import serve

SECRET = base64.b64encode(b"k" * 32).decode()
HOOK = Hook("1", "http://localhost:1/argilla", SECRET)
BODY = orjson.dumps(
    {
        "type": COMPLETED,
        "version": 1,
        "timestamp": "2026-01-01T00:00:00.0Z",
        "data": {"id": "r", "external_id": "task-1", "dataset": {"name": "r-choice", "workspace": {"name": "w"}}},
    }
)


def signed(body: bytes, *, secret: str = SECRET, ago: timedelta = timedelta(0)) -> dict[str, str]:
    at = datetime.now(UTC) - ago
    signature = Webhook(secret).sign("msg_1", at, body.decode())
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(at.timestamp())), "Webhook-Signature": signature}


def test_a_signed_call_tells_what_happened_and_where() -> None:
    event = verify(HOOK, signed(BODY), BODY)
    assert (event.kind, event.workspace, event.dataset, event.task_id) == (COMPLETED, "w", "r-choice", "task-1")
    assert event.response(choice_form()) is None


OTHER = base64.b64encode(b"x" * 32).decode()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (signed(BODY), BODY.replace(b"task-1", b"task-2")),
        (signed(BODY, secret=OTHER), BODY),
        (signed(BODY, ago=timedelta(minutes=6)), BODY),
        ({}, BODY),
        ({**signed(BODY), "Webhook-Signature": "v1"}, BODY),
        ({**signed(BODY), "Webhook-Signature": "v1,é"}, BODY),
        ({**signed(BODY), "Webhook-Timestamp": "soon"}, BODY),
        (signed(b"[]"), b"[]"),
        (signed(b"no json"), b"no json"),
        (signed(BODY), b"\xff"),
    ],
    ids=["changed", "other key", "old", "bare", "no signature", "no base64", "no time", "no object", "no json", "no text"],
)
def test_a_call_that_is_not_the_servers_is_refused(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(ForgedCall, match="is not Argilla's"):
        verify(HOOK, headers, body)


def test_a_secret_is_not_shown() -> None:
    assert SECRET not in repr(HOOK)
    with pytest.raises(ForgedCall) as caught:
        verify(HOOK, {}, BODY)
    assert SECRET not in str(caught.value)


@pytest.mark.server
def test_a_real_call_brings_the_response_that_a_pull_would(
    argilla_server: ArgillaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARGILLA_API_KEY", argilla_server.api_key)
    raw = {"backend": "argilla", "url": argilla_server.url, "workspace": "hooks"}
    form = choice_form("r-hooks")
    backend = make_backend(raw, tmp_path)
    assert isinstance(backend, Backend)
    backend.prepare(form)
    backend.push(form, choice_tasks(2))
    calls: list[tuple[dict[str, str], bytes]] = []

    def listen(_: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        calls.append((headers, body))
        return 204, {}, b""

    with serve(listen) as seen:
        hook = register(backend.client, f"{seen.url}/argilla", (COMPLETED, CREATED, UPDATED))
        try:
            assert register(backend.client, f"{seen.url}/argilla").id == hook.id, "one that is there is used again"
            register(backend.client, f"{seen.url}/argilla", (COMPLETED, CREATED, UPDATED))
            argilla_server.add_annotator("hooks-ann", "hooks")
            argilla_server.answer("hooks-ann", argilla_server.record_ids(form.name)[choice_task(1).id], {"choice": "tie"})
            wait_for(lambda: len(calls) >= 2, 20)
        finally:
            unregister(backend.client, hook)
            unregister(backend.client, hook)
    events = [verify(hook, headers, body) for headers, body in calls]
    assert {event.kind for event in events} == {COMPLETED, CREATED}
    assert {(event.workspace, event.dataset, event.task_id) for event in events} == {("hooks", form.name, choice_task(1).id)}
    pulled, _ = backend.pull(form, None)
    assert [event.response(form) for event in events if event.kind == CREATED] == list(pulled)
    backend.close()
