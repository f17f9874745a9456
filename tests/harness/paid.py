"""Ask a model of a recipe in a test, through the cache and the budget, in an event loop of the test's own."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from pipeline.budget import Budget
from pipeline.cache import ReplyCache
from pipeline.model import Model
from pipeline.settings import BudgetSettings, ModelSettings, plugin_settings

T = TypeVar("T")


def with_model(settings: dict[str, Any], cache: Path, work: Callable[[Model], Awaitable[T]], **budget: Any) -> T:
    """Run `work` with a model of these settings; closes it and the cache."""

    async def run() -> T:
        checked = plugin_settings("engines", settings, "engine", "models.m", ModelSettings)
        with ReplyCache(cache) as replies:
            model = Model("m", checked, replies, Budget(BudgetSettings(**budget)))
            try:
                return await work(model)
            finally:
                await model.close()

    return asyncio.run(run())


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]
