"""Any OpenAI-compatible server: OpenAI, vLLM, llama.cpp, Ollama, TGI, a gateway in front of many.

Requests travel over aiohttp and not over the openai package: on one core its client reaches 60 to 77 % of what a server
with 50 ms latency could give at concurrency 64, aiohttp 94 % with a sixth of the CPU time (figures in CONTRIBUTING.md).
The openai package makes the check before the first request, so that its error types say what is wrong.
"""

import asyncio
import os
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from pydantic import Field, field_validator

from pipeline.errors import EngineError, RequestFailed
from pipeline.records import Reply, Request, TokenChoice
from pipeline.settings import How, ModelSettings, place_of

if TYPE_CHECKING:
    import aiohttp
    from aiolimiter import AsyncLimiter

_OPENAI_URL = "https://api.openai.com/v1"
_CONTEXT = re.compile(r"context.{0,20}(length|window|size)|maximum.{0,20}tokens|too long", re.IGNORECASE)
_MOST_LOGPROBS = 20
"""Tokens for each place that OpenAI and vLLM give at most."""
_LONGEST_PAUSE = 120.0
"""Seconds; a server that asks for a longer pause than this is waited for no longer than this before the next try."""


class Settings(ModelSettings):
    """An OpenAI-compatible endpoint."""

    url: Annotated[str, How] = _OPENAI_URL
    """The address up to and including /v1."""
    api_key_env: Annotated[str | None, How] = None
    """The environment variable that holds the key; OPENAI_API_KEY for OpenAI itself, none elsewhere."""
    concurrency: Annotated[int, How] = Field(64, ge=1, le=4096)
    """Requests in flight at once."""
    requests_per_minute: Annotated[int | None, How] = Field(None, ge=1)
    """A minute's requests may come at once; after that they are spread."""
    tokens_per_minute: Annotated[int | None, How] = Field(None, ge=1)
    """Estimated before sending: a token per four characters of the prompt, plus max_tokens."""
    timeout: Annotated[float, How] = Field(300.0, gt=0)
    """Seconds until a request counts as lost."""
    retries: Annotated[int, How] = Field(5, ge=0, le=100)
    """Tries after the first, with exponential backoff; Retry-After is honoured."""
    structured: bool = True
    """Whether the server understands `response_format: json_schema`."""
    logprobs: bool = True
    """Whether the server gives log probabilities where they are asked for; a rubric judge reads its distribution from them."""

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not re.match(r"https?://[^/\s]+", url):
            raise ValueError("wanted an http(s) address such as http://localhost:8000/v1")
        return url.rstrip("/")


class Retry(Exception):
    """This try failed, the next may not. `pause` is what the server asked for, in seconds."""

    def __init__(self, reason: str, detail: str, pause: float | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.pause = pause


class Engine:
    """One endpoint, one client, one limit on what is in flight."""

    paid = True
    resident = False

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.structured = settings.structured
        self.logprobs = settings.logprobs
        self.concurrency = settings.concurrency
        self._model = settings.model or name
        self._url = settings.url
        self._key = _api_key(name, settings)
        self._limits: list[tuple[AsyncLimiter, bool]] = []
        self._session: aiohttp.ClientSession | None = None
        self._known_models: list[str] = []
        self._resume_at = 0.0

    def revision(self) -> str | None:
        return None

    async def start(self) -> None:
        import aiohttp
        from aiolimiter import AsyncLimiter

        await self._check()
        s = self.settings
        self._limits = [
            (AsyncLimiter(limit, 60), counts_tokens)
            for limit, counts_tokens in ((s.requests_per_minute, False), (s.tokens_per_minute, True))
            if limit is not None
        ]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=s.concurrency, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=s.timeout),
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def reply(self, request: Request) -> Reply:
        body = orjson.dumps(self._body(request))
        for attempt in range(self.settings.retries + 1):
            await self._may_send(request)
            try:
                return await self._send(body)
            except Retry as failure:
                last = failure
            if attempt < self.settings.retries:
                await asyncio.sleep(self._backoff(attempt, last.pause))
        raise RequestFailed(last.reason, f"{self._model} at {self._url}: {last.detail}")

    def _body(self, request: Request) -> dict[str, Any]:
        sampling = dict(request.sampling)
        extra = sampling.pop("extra", {})
        body: dict[str, Any] = {"model": self._model, "messages": request.messages, **sampling}
        if request.schema is not None and self.structured:
            schema = {"name": "verdict", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.logprobs:
            body |= {"logprobs": True, "top_logprobs": min(request.logprobs, _MOST_LOGPROBS)}
        return {**body, **extra} if isinstance(extra, dict) else body

    async def _may_send(self, request: Request) -> None:
        # A pause that the server asked of one request holds for all: they would only be refused as well.
        while (wait := self._resume_at - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        for limiter, counts_tokens in self._limits:
            amount = float(_token_estimate(request)) if counts_tokens else 1.0
            await limiter.acquire(min(amount, limiter.max_rate))

    def _backoff(self, attempt: int, pause: float | None) -> float:
        if pause is not None:
            pause = min(pause, _LONGEST_PAUSE)
            self._resume_at = max(self._resume_at, time.monotonic() + pause)
            return pause
        return min(0.5 * 2.0**attempt, 30.0)

    async def _send(self, body: bytes) -> Reply:
        import aiohttp

        assert self._session is not None, "start() comes first"
        try:
            async with self._session.post(f"{self._url}/chat/completions", data=body) as response:
                raw = await response.read()
        except TimeoutError:
            raise Retry("timeout", f"no reply within {self.settings.timeout:g} s") from None
        except aiohttp.ClientError as error:
            raise Retry("connection", str(error) or type(error).__name__) from error
        if response.status == 200:
            return _read_reply(raw)
        raise self._refusal(response.status, raw, response.headers.get("Retry-After"))

    def _refusal(self, status: int, raw: bytes, retry_after: str | None) -> Exception:
        detail, code = _error_text(raw)
        if status == 429 and code == "insufficient_quota":
            return EngineError(f"{self._url} says that the account of '{self.name}' has no quota left: {detail}")
        if status == 429 or status == 408 or status == 409 or status >= 500:
            reason = "rate_limited" if status == 429 else "server_error"
            return Retry(reason, f"HTTP {status} {detail}", _seconds(retry_after))
        if status in (401, 403):
            return EngineError(self._key_sentence(status, detail))
        if status == 404:
            return EngineError(self._unknown_sentence(detail))
        if code == "context_length_exceeded" or (status in (400, 413, 422) and _CONTEXT.search(detail)):
            return RequestFailed("context_length", detail)
        return RequestFailed("rejected", f"HTTP {status} {detail}")

    def _key_sentence(self, status: int, detail: str) -> str:
        variable = _key_variable(self.settings)
        how = f"set {variable} to a valid key" if variable else f"name the key's variable in {place_of(self.name)}.api_key_env"
        return f"{self._url} refused the API key of model '{self.name}' (HTTP {status} {detail}); {how}"

    def _unknown_sentence(self, detail: str) -> str:
        known = f"; it serves: {', '.join(sorted(self._known_models)[:20])}" if self._known_models else ""
        return (
            f"{self._url} knows no model '{self._model}' (HTTP 404 {detail}){known}; "
            f"mend {place_of(self.name)}.model, or its url (it usually ends in /v1)"
        )

    async def _check(self) -> None:
        import openai

        client = openai.AsyncOpenAI(base_url=self._url, api_key=self._key, max_retries=2, timeout=15)
        try:
            self._known_models = [m.id async for m in client.models.list()]
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise EngineError(
                f"nothing answers at {self._url} (model '{self.name}'): {cause}; start the server, or mend {place_of(self.name)}.url"
            ) from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise EngineError(self._key_sentence(error.status_code, _error_text(error.response.content)[0])) from error
        except (openai.APIError, ValueError, TypeError, AttributeError):
            # Gateways without a list of models are common; the first request will show whether the address is right.
            self._known_models = []
        finally:
            await client.close()


def _api_key(name: str, settings: Settings) -> str:
    variable = _key_variable(settings)
    if variable is None:
        return "none"
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EngineError(f"model '{name}' needs an API key, and {variable} is not set; export {variable}=…")
    return key


def _key_variable(settings: Settings) -> str | None:
    return settings.api_key_env or ("OPENAI_API_KEY" if settings.url == _OPENAI_URL else None)


def _token_estimate(request: Request) -> int:
    characters = sum(len(m["content"]) for m in request.messages)
    return characters // 4 + request.sampling.get("max_tokens", 0)


def _read_reply(raw: bytes) -> Reply:
    try:
        body = orjson.loads(raw)
        choice = body["choices"][0]
        message = choice["message"]
        usage = body.get("usage") or {}
        return Reply(
            text=message.get("content") or message.get("refusal") or "",
            finish_reason=choice.get("finish_reason") or "stop",
            prompt_tokens=usage.get("prompt_tokens") or 0,
            completion_tokens=usage.get("completion_tokens") or 0,
            logprobs=_read_logprobs(choice.get("logprobs")),
        )
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Retry("broken_reply", f"the reply is no chat completion: {raw[:200]!r}") from error


def _read_logprobs(given: Any) -> tuple[TokenChoice, ...] | None:
    places = given.get("content") if isinstance(given, dict) else None
    if not places:
        return None
    return tuple(TokenChoice(p["token"], tuple((t["token"], t["logprob"]) for t in p["top_logprobs"])) for p in places)


def _error_text(raw: bytes) -> tuple[str, str]:
    """The message and the code of an error body; the body itself where it is not OpenAI's form."""
    try:
        body = orjson.loads(raw)
        error = body.get("error", body)
        return str(error.get("message", error))[:500], str(error.get("code", ""))
    except (orjson.JSONDecodeError, AttributeError):
        return raw[:200].decode("utf-8", "replace"), ""


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After is a number of seconds or an HTTP date."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
