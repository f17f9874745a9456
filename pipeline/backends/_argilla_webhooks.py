"""Argilla calls us when something was said: registering the call, and knowing it from a forged one.

Calls are signed as https://www.standardwebhooks.com says. A call that gets no 2xx is made again after 10, 60 and 180 s, and
then no more; it comes at least once and in any order. So it is a reason to pull, or brings one response before the next pull.
"""

import binascii
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipeline.annotation import Form, Response
from pipeline.backends._argilla_client import Client, Missing
from pipeline.backends._argilla_form import response_of
from pipeline.errors import InputError

COMPLETED, CREATED, UPDATED = "record.completed", "response.created", "response.updated"

_DESCRIPTION = "Pairsmith"


class ForgedCall(InputError):
    """A call that the server did not sign, or signed more than five minutes ago: answer it with HTTP 401 and go on."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A registered call. `secret` verifies its deliveries: keep it in memory, out of logs and files."""

    id: str
    url: str
    secret: str

    def __repr__(self) -> str:
        return f"Hook(id={self.id!r}, url={self.url!r})"


@dataclass(frozen=True, slots=True)
class Event:
    """What happened in which dataset. `data` is Argilla's own."""

    kind: str
    workspace: str
    dataset: str
    task_id: str
    data: Mapping[str, Any]

    def response(self, form: Form) -> Response | None:
        """The response that was created or updated: stored like one that was pulled, it costs no request at all."""
        if self.kind not in (CREATED, UPDATED) or self.dataset != form.name:
            return None
        return response_of(form, self.task_id, str(self.data["user"]["username"]), dict(self.data))


def register(client: Client, url: str, events: Sequence[str] = (COMPLETED,)) -> Hook:
    """Have the server call `url`. One that is there already is used again, since a server takes ten of them at most."""
    body = {"url": url, "events": sorted(events), "description": _DESCRIPTION}
    there = next((hook for hook in client.get("webhooks")["items"] if hook["url"].rstrip("/") == url.rstrip("/")), None)
    if there is None:
        made = client.call("POST", "webhooks", body)
    else:
        made = client.call("PATCH", f"webhooks/{there['id']}", {**body, "enabled": True})
    return Hook(str(made["id"]), url, str(made["secret"]))


def unregister(client: Client, hook: Hook) -> None:
    """At once or not at all: who is told to end does not wait for a server that is away. Raises BackendAway."""
    with suppress(Missing):  # gone already
        client.call("DELETE", f"webhooks/{hook.id}", retries=0)


def verify(hook: Hook, headers: Mapping[str, str], body: bytes) -> Event:
    """The event that a delivery tells of. Raises ForgedCall."""
    from standardwebhooks.webhooks import Webhook, WebhookVerificationError

    try:
        told = Webhook(hook.secret).verify(body, dict(headers))
        return _event(told["type"], told["data"])
    except (WebhookVerificationError, ValueError, KeyError, TypeError, binascii.Error) as error:
        raise ForgedCall(f"a call to {hook.url} is not Argilla's ({error or type(error).__name__}); it was not taken") from error


def _event(kind: str, data: Mapping[str, Any]) -> Event:
    record = data["record"] if kind.startswith("response.") else data
    dataset = record["dataset"] if kind.startswith(("response.", "record.")) else record
    task_id = str(record.get("external_id") or record["id"])
    return Event(kind, str(dataset["workspace"]["name"]), str(dataset["name"]), task_id, data)
