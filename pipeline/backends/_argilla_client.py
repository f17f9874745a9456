"""Requests to an Argilla server: tried again while it is away, and a sentence where trying again is of no use.

Plain HTTP and not argilla's package: that takes 2 s to import, fails without `requests`, which it does not declare, does not
try a batch again, and cannot say when a response was given.
"""

import secrets
import time
from typing import Any

import httpx

from pipeline.errors import BackendAway, InputError, RecipeError

_PASSING = {408, 425, 429}
_LONGEST_PAUSE = 120.0
"""Seconds; a server that asks for a longer pause is asked again after this one."""


class Missing(InputError):
    """The server knows no such thing (404)."""


class Taken(InputError):
    """There is one of that name already (409)."""


class Away(Exception):
    """This try failed, the next may not. `pause` is what the server asked for, in seconds."""

    def __init__(self, detail: str, pause: float = 0.0) -> None:
        super().__init__(detail)
        self.pause = pause


class Client:
    """One server as one user. `requests` counts what was sent, with every try."""

    def __init__(self, url: str, key: str, key_name: str, timeout: float, retries: int) -> None:
        self.url = url
        self.requests = 0
        self._key_name = key_name
        self._retries = retries
        self._http = httpx.Client(base_url=f"{url}/api/v1/", headers={"X-Argilla-Api-Key": key}, timeout=timeout)

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        return self.call("GET", path, params=params)

    def call(self, method: str, path: str, body: Any = None, params: dict[str, Any] | None = None, *, retries: int | None = None) -> Any:
        """The reply's JSON. Raises BackendAway after the last try, and InputError or RecipeError where it was refused."""
        tries = 1 + (self._retries if retries is None else retries)
        for attempt in range(tries):
            try:
                return self._send(method, path, body, params)
            except Away as failure:
                last = failure
            if attempt < tries - 1:
                time.sleep(_pause(attempt, last.pause))
        raise BackendAway(
            f"Argilla at {self.url} does not answer ({last}; {tries} tries); nothing is lost: "
            "run the same command again when it is back, or mend annotate.url"
        ) from last

    def _send(self, method: str, path: str, body: Any, params: dict[str, Any] | None) -> Any:
        self.requests += 1
        try:
            reply = self._http.request(method, path, json=body, params=params)
        except httpx.TimeoutException as error:
            raise Away(f"no reply in {self._http.timeout.read:g} s") from error
        except httpx.TransportError as error:
            raise Away(str(error) or type(error).__name__) from error
        if reply.status_code in _PASSING or reply.status_code >= 500:
            raise Away(f"HTTP {reply.status_code} {_detail(reply)}", _asked_pause(reply))
        if not reply.is_success:
            raise self._refusal(method, path, reply)
        try:
            return reply.json() if reply.content else None
        except ValueError as error:
            raise self._no_argilla(f"{reply.content[:60]!r}") from error

    def _refusal(self, method: str, path: str, reply: httpx.Response) -> Exception:
        status, detail = reply.status_code, _detail(reply)
        if status == 401:
            return RecipeError(f"Argilla at {self.url} refused the API key in {self._key_name}; export a valid one")
        if status == 403:
            return RecipeError(f"Argilla at {self.url} does not let the owner of {self._key_name} {method} {path}; use the key of an owner")
        if reply.is_redirect:
            return self._no_argilla(f"a redirect to {reply.headers.get('location', '')[:200]}")
        sentence = f"Argilla at {self.url} refused {method} {path} (HTTP {status}): {detail}"
        return {404: Missing, 409: Taken}.get(status, InputError)(sentence)

    def _no_argilla(self, found: str) -> Exception:
        return RecipeError(f"{self.url} answered with {found}, wanted Argilla's API; mend annotate.url or ARGILLA_API_URL")


def _pause(attempt: int, asked: float) -> float:
    """Seconds until the next try: twice as long each time, and spread, so that many clients do not come back at once."""
    spread = 0.5 + secrets.randbelow(1000) / 1000
    return max(min(0.5 * 2.0**attempt, 30.0) * spread, min(asked, _LONGEST_PAUSE))


def _asked_pause(reply: httpx.Response) -> float:
    try:
        return float(reply.headers.get("Retry-After", 0))
    except ValueError:
        return 0.0  # a date; our own pauses do as well


def _detail(reply: httpx.Response) -> str:
    try:
        said = reply.json()
    except ValueError:
        said = reply.text
    detail = said.get("detail", said) if isinstance(said, dict) else said
    return " ".join(str(detail).split())[:300]
