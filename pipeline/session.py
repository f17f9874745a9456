"""One process's hands on a run: its checked recipe, its models and judge, the cache and the budget.

Everything that waits for a network runs in one event loop in a thread of its own, so that the shards of a process share
one client and one limit per model. Stages are called from any thread.
"""

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from functools import cached_property
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from pipeline import ROOT
from pipeline.annotate.people import SaidByShard, read_people
from pipeline.budget import Budget
from pipeline.cache import ReplyCache
from pipeline.errors import Interrupted
from pipeline.judges import Judge, make_judge
from pipeline.model import Model
from pipeline.plugins import load_plugin
from pipeline.recipe import check_recipe
from pipeline.runs import Run
from pipeline.settings import ModelSettings, Recipe, judge_models, plugin_settings
from pipeline.strategies import StrategySettings
from pipeline.turns import Turns

T = TypeVar("T")

_OPEN: dict[Path, "Session"] = {}


class Session:
    """Open a run to work on it. `Session.of(path)` is the open one of this process, opened where there is none: a task that
    another process or machine runs needs nothing but the run's path."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.recipe: Recipe = check_recipe(run.recipe())
        self.strategy = load_plugin("strategies", self.recipe.pair["strategy"])
        self.pair_settings = plugin_settings("strategies", self.recipe.pair, "strategy", "pair", StrategySettings)
        self.budget = Budget(self.recipe.budget)
        self.cache = ReplyCache(_cache_file(self.recipe))
        self._turns = Turns() if self.recipe.run.local_models == "in_turn" else None
        self.models = {n: Model(n, self.recipe.model(n), self.cache, self.budget, self._turns) for n in self.recipe.models}
        asked = judge_models(self.recipe.judge) if self.recipe.judge else {}
        self.judge_models = {n: Model(n, settings, self.cache, self.budget, self._turns) for n, settings in asked.items()}
        """By name: one, or those of the judges that the judge is made of."""
        self.judge: Judge | None = make_judge(self.recipe.judge, self.judge_models) if self.recipe.judge else None
        self._check_memory()
        self.prompts = 0
        """Prompts in the shards; 0 until they are collected."""
        self.done: Counter[str] = Counter()
        """Shards that are through, by stage."""
        self.digests: dict[str, str] = {}
        """Of what each stage depends on beside its input; taken once, since a table of answers may be large."""
        self._waiting: set[Future[Any]] = set()
        self._interrupted = False
        _favour_replies()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="pairsmith-network", daemon=True)
        self._thread.start()
        _OPEN[run.path] = self

    @staticmethod
    def of(path: str | Path) -> "Session":
        return _OPEN.get(Path(path)) or Session(Run(Path(path)))

    @staticmethod
    def opened(path: Path) -> "Session | None":
        return _OPEN.get(path)

    @property
    def all_models(self) -> list[Model]:
        """The models that answer, and those that judge."""
        return [*self.models.values(), *self.judge_models.values()]

    @property
    def in_turn(self) -> list[Model]:
        """The models that answer one after the other, because this machine holds one at a time."""
        here = [m for m in self.models.values() if m.engine.resident]
        return here if self._turns else []

    @cached_property
    def roles(self) -> dict[str, str | None]:
        return {name: model.settings.role for name, model in self.models.items()}

    @cached_property
    def people(self) -> SaidByShard:
        """What people said up to now; what they say later is for the next session."""
        return SaidByShard(read_people(self.run))

    @cached_property
    def labels(self) -> dict[str, str]:
        return {name: self.recipe.label(name) for name in self.models}

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the event loop and wait for it. Raises Interrupted when the user stops the run meanwhile."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._waiting.add(future)
        if self._interrupted:
            future.cancel()
        try:
            return future.result()
        except CancelledError:
            raise Interrupted("interrupted; every reply that arrived is kept: run the same command again to go on") from None
        finally:
            self._waiting.discard(future)

    def interrupt(self) -> None:
        """Stop waiting for what is in flight, from any thread or signal handler."""
        self._interrupted = True
        for future in list(self._waiting):
            future.cancel()

    def close(self) -> None:
        """Close every client, the loop and the cache. What has arrived is stored already."""
        if _OPEN.pop(self.run.path, None) is None:
            return
        asyncio.run_coroutine_threadsafe(self._close_models(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _check_memory(self) -> None:
        """Let every engine that knows how say beforehand that its models will not fit. Raises RecipeError."""
        by_engine: dict[str, dict[str, ModelSettings]] = {}
        for model in self.all_models:
            if model.engine.resident:
                by_engine.setdefault(model.settings.engine, {})[model.name] = model.settings
        for engine, settings in by_engine.items():
            if check := getattr(load_plugin("engines", engine), "check_together", None):
                check(settings, in_turn=self._turns is not None)

    async def _close_models(self) -> None:
        for model in self.all_models:
            await model.close()


def _favour_replies() -> None:
    """Let a reply wait for as little as possible, once a process: that is worth a twentieth of what a server can give.

    A full garbage collection over all that Prefect imports takes 0.1 s, in which no request is sent. Frozen, it is left
    out. And a thread that works on tables gives way after 0.5 ms instead of 5.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(0.0005)


def _cache_file(recipe: Recipe) -> Path:
    return Path(recipe.run.cache).expanduser() if recipe.run.cache else ROOT / "data" / "cache" / "replies.sqlite"
