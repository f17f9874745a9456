"""A model in this process, through transformers: for laptops and small models, where a server is too much.

Requests that wait at the same time are generated together, in batches of equal sampling parameters. What a batch holds
depends on who asks when, and rounding depends on a batch's shape: the same request in the same batch gives the same text,
greedy or seeded, and no more than that is promised. It is the reply cache that makes a run repeatable.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import Field

from pipeline.engines._causal_lm import CausalLM, Results
from pipeline.errors import RequestFailed
from pipeline.fingerprint import folder_fingerprint
from pipeline.records import Reply, Request
from pipeline.settings import How, ModelSettings

_GATHER = 0.01
"""Seconds that a batch with room left waits for company."""


class Settings(ModelSettings):
    """A causal language model with a chat template, loaded from safetensors; code from its repository is never run."""

    model: str = ""
    """A hub name or a local folder; the entry's own name when left out."""
    revision: str | None = None
    """Commit, tag or branch of a hub name. A local folder is known by a fingerprint of its files instead."""
    device: Annotated[str, How] = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """auto (a GPU where there is one), cpu, mps, cuda or cuda:N."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The weights' type in memory; auto takes the type they were saved in."""
    batch_size: Annotated[int, How] = Field(8, ge=1, le=1024)
    """Most answers generated at once; memory follows it."""
    adapter: str | None = None
    """A local folder with a LoRA adapter for the model, as peft saves it."""


@dataclass(eq=False, slots=True)
class _Batch:
    """Requests that are generated together, and how many of them nobody waits for any more."""

    requests: list[Request] = field(default_factory=list)
    left: int = 0

    def abandoned(self) -> bool:
        return self.left == len(self.requests)


class Engine:
    """Gathers requests into batches and generates one batch at a time, in a thread."""

    paid = True
    resident = True
    structured = False
    logprobs = True

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.concurrency = 4 * settings.batch_size  # so that batches fill although each sample has a seed of its own
        folder = Path(settings.model or name).expanduser()
        self._path = str(folder) if folder.is_dir() else settings.model or name
        self._revision: str | None = None
        self._model: CausalLM | None = None
        self._open: dict[bytes, tuple[_Batch, asyncio.Task[Results]]] = {}
        self._next = asyncio.Lock()

    def revision(self) -> str | None:
        if self._revision is None:
            folder, adapter = Path(self._path), self.settings.adapter
            base = folder_fingerprint(folder) if folder.is_dir() else self.settings.revision or ""
            self._revision = f"{base}+{folder_fingerprint(Path(adapter).expanduser())}" if adapter else base
        return self._revision or None

    async def start(self) -> None:
        self._model = await asyncio.to_thread(CausalLM, self.name, self._path, self.settings)

    async def close(self) -> None:
        async with self._next:
            self._model = None

    async def reply(self, request: Request) -> Reply:
        batch, row, task = self._join(request)
        try:
            # Shielded: whoever stops waiting must not take the others' answers along.
            result = (await asyncio.shield(task))[row]
        finally:
            batch.left += 1
        if isinstance(result, RequestFailed):
            raise result
        return result

    def _join(self, request: Request) -> tuple[_Batch, int, asyncio.Task[Results]]:
        key = orjson.dumps((request.sampling, request.logprobs), option=orjson.OPT_SORT_KEYS)
        if key not in self._open:
            batch = _Batch()
            self._open[key] = batch, asyncio.create_task(self._generate(batch, key))
        batch, task = self._open[key]
        batch.requests.append(request)
        if len(batch.requests) == self.settings.batch_size:
            del self._open[key]
        return batch, len(batch.requests) - 1, task

    async def _generate(self, batch: _Batch, key: bytes) -> Results:
        # A batch stays open while it waits for its turn: what is asked meanwhile joins it.
        async with self._next:
            if len(batch.requests) < self.settings.batch_size:
                await asyncio.sleep(_GATHER)
            if key in self._open and self._open[key][0] is batch:
                del self._open[key]
            if batch.abandoned():
                return []
            assert self._model is not None, "start() comes first"
            return await asyncio.to_thread(self._model.replies, batch.requests, batch.abandoned)
