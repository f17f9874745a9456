"""Whose turn it is, where several models share a machine that holds only one of them at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol


class Resident(Protocol):
    """A model that takes memory here while it is up."""

    async def close(self) -> None:
        """Give the memory back. The next question starts it again."""


class Turns:
    """One memory is taken at a time. Who asks keeps the turn; then the next that wants it closes those who were up, and is up."""

    def __init__(self) -> None:
        self._free = asyncio.Condition()
        self._memory: object | None = None
        self._up: list[Resident] = []
        self._asking = 0

    @asynccontextmanager
    async def of(self, model: Resident, memory: object | None = None) -> AsyncIterator[None]:
        """Hold the turn for one question. What holding it costs beyond the question, a start, is the holder's to do. `memory`
        is the same for models that are up together in what one of them takes, as a base model and its adapters are."""
        wanted = model if memory is None else memory
        async with self._free:
            await self._free.wait_for(lambda: self._memory in (None, wanted) or not self._asking)
            if self._memory is not wanted:
                while self._up:
                    await self._up.pop().close()
                self._memory = wanted
            if model not in self._up:
                self._up.append(model)
            self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:  # woken after every answer, hundreds who wait would only go back to sleep
                async with self._free:
                    self._free.notify_all()
