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
    """One model is up at a time. It keeps its turn while anybody asks it; then the next that wants it closes it and is up."""

    def __init__(self) -> None:
        self._free = asyncio.Condition()
        self._holder: Resident | None = None
        self._asking = 0

    @asynccontextmanager
    async def of(self, model: Resident) -> AsyncIterator[None]:
        """Hold the turn for one question. What holding it costs beyond the question, a start, is the holder's to do."""
        async with self._free:
            await self._free.wait_for(lambda: self._holder in (None, model) or not self._asking)
            if self._holder is not model:
                if self._holder is not None:
                    await self._holder.close()
                self._holder = model
            self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:  # woken after every answer, hundreds who wait would only go back to sleep
                async with self._free:
                    self._free.notify_all()
