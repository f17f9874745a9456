"""A model that can be asked: an engine behind the reply cache and the budget. Generation and judges use the same."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

from pipeline.budget import Budget
from pipeline.cache import ReplyCache, reply_key
from pipeline.engine import Engine
from pipeline.errors import EngineError, RequestFailed
from pipeline.plugins import load_plugin
from pipeline.records import Message, Prompt, Reply, Request, Sampling
from pipeline.settings import ModelSettings, SamplingSettings
from pipeline.turns import Turns

T = TypeVar("T")

_AT_ONCE = 16
"""Questions that are begun before the loop looks at what has arrived: a thousand at once would hold it for 60 ms."""

_GIVE_UP_AFTER = 50
"""Failures in a row, without one reply between them, after which the server counts as gone."""

_GIVE_UP_AT_ONCE_AFTER = 5
"""The same for refused requests when no reply has ever come: a setting is wrong, and every request would be refused."""


class Model:
    """Ask a model; get the reply from the cache or, once, from its engine.

    The engine starts with the first question that the cache cannot answer. With `turns`, an engine that holds its model in
    this machine's memory is up only while it has the turn.
    """

    def __init__(self, name: str, settings: ModelSettings, cache: ReplyCache, budget: Budget, turns: Turns | None = None) -> None:
        self.name = name
        self.settings = settings
        self.called = settings.model or name
        self.engine = make_engine(name, settings)
        self._cache = cache
        self._budget = budget
        self._in_flight: dict[bytes, asyncio.Future[Reply]] = {}
        self._started: asyncio.Task[None] | None = None
        self._turns = turns if self.engine.resident else None
        self._sampling = _sampling(settings.sampling)
        self._failures = 0
        self._replied = False
        self._slots = asyncio.Semaphore(self.engine.concurrency)
        self._broken: EngineError | None = None

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        sample: int = 0,
        schema: Mapping[str, Any] | None = None,
        prompt: Prompt | None = None,
        logprobs: int = 0,
    ) -> Reply:
        """One reply, with `logprobs` where the engine gives them. Raises RequestFailed, EngineError or BudgetSpent (see
        pipeline/engine.py)."""
        sampling = self._sampling
        if "seed" in sampling:
            sampling = {**sampling, "seed": sampling["seed"] + sample}
        request = Request(tuple(messages), sampling, sample, schema, prompt, logprobs if self.gives_logprobs else 0)
        if not self.engine.paid:
            await self.start()
            return await self.engine.reply(request)
        key = reply_key(self.called, self.revision(), None, request)
        if (known := self._cache.get(key)) is not None:
            self._budget.of(self.name).cached += 1
            return known
        if (twin := self._in_flight.get(key)) is not None:
            return await asyncio.shield(twin)
        return await self._pay(key, request)

    @property
    def gives_logprobs(self) -> bool:
        return getattr(self.engine, "logprobs", False)

    def revision(self) -> str | None:
        """What the replies hang on beside the model's name: a fingerprint of local weights says more than a word of the user's."""
        return self.engine.revision() or self.settings.revision

    async def start(self) -> None:
        """Make sure that replies can come. Raises EngineError."""
        # One task for all who ask first; a failure to start is everyone's.
        if self._started is None:
            self._started = asyncio.ensure_future(self.engine.start())
        await asyncio.shield(self._started)

    async def close(self) -> None:
        """Let the engine go. The next question starts it again."""
        if self._started is not None:
            self._started = None
            await self.engine.close()

    def turn(self) -> AbstractAsyncContextManager[None]:
        """To be held while the engine is at work."""
        return self._turns.of(self, getattr(self.engine, "memory", None)) if self._turns else nullcontext()

    async def _pay(self, key: bytes, request: Request) -> Reply:
        # The future is registered before the first await, so that a twin asked meanwhile waits for it and is not paid.
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = future
        try:
            # Whether a request may still be sent is asked when its turn has come. Its slot is free again only when the
            # reply is stored: what a kill can lose is never more than what is in flight.
            async with self.turn(), self._slots:
                await self.start()
                if self._broken is not None:
                    raise self._broken
                self._budget.reserve(self.name)
                reply = await self._asked(request)
                self._budget.spend(self.name, reply, self.settings.price)
                reply = self._cache.put(key, self.called, reply)
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:  # whatever it is, whoever waits for the same reply must hear of it
            future.set_exception(error)
            future.exception()  # a twin may not be waiting; then nobody else looks at it
            raise
        finally:
            del self._in_flight[key]
        future.set_result(reply)
        return reply

    async def _asked(self, request: Request) -> Reply:
        try:
            reply = await self.engine.reply(request)
        except RequestFailed as failure:
            self._budget.of(self.name).failed += 1
            # A long prompt says nothing about the model. Refusals are data too, but where no reply has ever come, a few of
            # them mean that all will be refused.
            self._failures += failure.reason != "context_length"
            if self._failures >= (_GIVE_UP_AFTER if failure.transient or self._replied else _GIVE_UP_AT_ONCE_AFTER):
                self._broken = EngineError(
                    f"model '{self.name}' gave no reply to {self._failures} requests in a row (the last: {failure.detail}); "
                    "every reply that arrived is kept: see to its server or its settings and run the same command again"
                )
                raise self._broken from failure
            raise
        except EngineError as error:
            self._broken = error
            raise
        self._failures, self._replied = 0, True
        return reply


def make_engine(name: str, settings: ModelSettings) -> Engine:
    """The engine of a model's settings. EngineError where something is missing that can be seen without asking, such as a key."""
    engine: Engine = load_plugin("engines", settings.engine).Engine(name, settings)
    return engine


async def settle(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await everything, then raise the first error: before a run stops, what is in flight arrives and is stored."""
    tasks: list[asyncio.Task[T]] = []
    try:
        for number, coroutine in enumerate(work, 1):
            tasks.append(asyncio.create_task(coroutine))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        came = await asyncio.gather(*tasks, return_exceptions=True)
    except asyncio.CancelledError:
        # Cancelled between two beginnings, nobody else would cancel what has begun.
        for task in tasks:
            task.cancel()
        raise
    for result in came:
        if isinstance(result, BaseException):
            raise result
    return [result for result in came if not isinstance(result, BaseException)]


def _sampling(settings: SamplingSettings) -> Sampling:
    sampling: Sampling = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    if settings.top_p is not None:
        sampling["top_p"] = settings.top_p
    if settings.seed is not None:
        sampling["seed"] = settings.seed
    if settings.stop:
        sampling["stop"] = settings.stop
    if settings.extra:
        sampling["extra"] = settings.extra
    return sampling
