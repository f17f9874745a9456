"""Replies made up by rule, for tests and for trying a recipe without a model: no network, no key, no cost.

It goes through the cache and the budget like a paid engine, so that everything around it can be seen working.
"""

import asyncio
import hashlib
import random
import re
from typing import Annotated

import orjson
from pydantic import Field

from pipeline.errors import RequestFailed
from pipeline.records import Reply, Request
from pipeline.settings import How, ModelSettings


class Settings(ModelSettings):
    """A model that replies from a script."""

    replies: dict[str, str] = Field(default_factory=dict)
    """A text that occurs in the last message: the reply. The longest that fits counts."""
    default: str = "{model} on: {question}"
    """The reply where none fits; {model}, {question} (the last message), {sample} and {draw} (a number by chance, the
    same for the same request) are filled in."""
    fail: list[str] = Field(default_factory=list)
    """A request whose last message holds one of these texts fails."""
    delay: Annotated[float, How] = 0.0
    """Seconds before each reply."""
    structured: bool = True
    """Whether it claims to honour a JSON schema."""
    concurrency: Annotated[int, How] = Field(64, ge=1)
    """Replies at once."""


class Engine:
    """See the module."""

    paid = True
    resident = False

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.structured = settings.structured
        self.concurrency = settings.concurrency
        self.asked = 0

    def revision(self) -> str | None:
        return None

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def reply(self, request: Request) -> Reply:
        self.asked += 1
        await asyncio.sleep(self.settings.delay)
        question = request.messages[-1]["content"]
        if any(text in question for text in self.settings.fail):
            raise RequestFailed("server_error", "the script says that this request fails")
        fits = sorted((t for t in self.settings.replies if t in question), key=len)
        text = self.settings.replies[fits[-1]] if fits else self._default(request, question)
        return Reply(text, prompt_tokens=len(question) // 4, completion_tokens=len(text) // 4)

    def _default(self, request: Request, question: str) -> str:
        asked = orjson.dumps([self.name, request.messages, request.sample, request.sampling])
        draw = random.Random(hashlib.sha256(asked).digest()).random()  # noqa: S311 - a script, not a secret
        filled = {"model": self.name, "question": question, "sample": str(request.sample), "draw": f"{draw:.3f}"}
        return re.sub(r"\{(model|question|sample|draw)\}", lambda match: filled[match.group(1)], self.settings.default)
