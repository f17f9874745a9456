"""A vLLM server of our own, started when it is needed and always stopped; or one that runs already, by its URL.

vLLM lives in an environment of its own (`make vllm`), and is asked over HTTP by the `openai` engine's client. Entries of a
recipe whose server settings are equal share one server: a base model and its adapters, a model that answers and judges.
A server that dies is started again, and what it had not answered is asked again.

Replies are not bit-reproducible across batch shapes; a seed makes them likely to repeat, and the reply cache certain.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.engines import _vllm_plan as plan
from pipeline.engines import openai
from pipeline.engines._vllm_command import Launch, extra_arguments, read_adapter
from pipeline.engines._vllm_server import Server
from pipeline.errors import EngineError
from pipeline.fingerprint import folder_fingerprint
from pipeline.records import Reply
from pipeline.settings import How, ModelSettings, digest, place_of

_DEATHS = frozenset({"connection", "timeout", "server_error", "broken_reply"})
"""Failures that a dead server may be behind; one that refuses for its load is alive."""


class Settings(ModelSettings):
    """A model that vLLM serves, from safetensors; code from its repository is never run."""

    model: str = ""
    """A hub name or a local folder; the entry's own name when left out. With `url`, a name that server knows."""
    revision: str | None = None
    """Commit, tag or branch of a hub name. A local folder is known by a fingerprint of its files instead."""
    url: Annotated[str | None, How] = None
    """A server that runs already, up to and including /v1; then nothing is started."""
    api_key_env: Annotated[str | None, How] = None
    """The environment variable that holds the key of the server at `url`."""
    concurrency: Annotated[int, How] = Field(64, ge=1, le=4096)
    """Requests in flight at once."""
    timeout: Annotated[float, How] = Field(300.0, gt=0)
    """Seconds until a request counts as lost."""
    retries: Annotated[int, How] = Field(5, ge=0, le=100)
    """Tries after the first, with exponential backoff; those that a server's death cost do not count."""
    structured: bool = True
    """Whether a JSON schema is enforced while the model writes."""
    adapter: str | None = None
    """A local folder with a LoRA adapter, as peft saves it; one server holds a base model and all its adapters."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """The weights' type in memory; auto takes the type they were saved in, and bfloat16 for float32."""
    quantization: str | None = None
    """A method that vLLM knows, such as fp8; a checkpoint that is quantized already says so itself."""
    max_model_len: int | None = Field(None, ge=1)
    """Longest prompt and answer together, in tokens; the model's own length when left out. Memory follows it."""
    seed: int = 0
    """Of the server's own sampling, for requests without a seed."""
    extra_args: dict[str, Any] | list[str] = Field(default_factory=dict)
    """Any other option of `vllm serve`, as `{max-num-seqs: 256}` or as a list of arguments. Replies are filed under them too."""
    device: Annotated[str | None, How] = Field(None, pattern=r"^[\w,|-]+$")
    """GPUs as in CUDA_VISIBLE_DEVICES (`0` or `0,1`), the first ones when left out; on a CPU, cores such as `0-3`."""
    gpu_memory_utilization: Annotated[float | None, How] = Field(None, gt=0, le=1)
    """Share of a GPU's memory; when left out, servers that are up together share 0.9 of their device evenly."""
    tensor_parallel_size: Annotated[int, How] = Field(1, ge=1)
    """GPUs that one copy of the model is spread over."""
    data_parallel_size: Annotated[int, How] = Field(1, ge=1)
    """Copies of the model, each on GPUs of its own."""
    prefix_caching: Annotated[bool, How] = True
    """Whether the beginnings that prompts have in common are computed once."""
    cpu_kv_cache_gib: Annotated[float | None, How] = Field(None, gt=0)
    """GiB of memory for keys and values on a CPU; when left out, room for 64 of the longest sequences, up to 4 GiB."""
    start_timeout: Annotated[float, How] = Field(900.0, gt=0)
    """Seconds until a server that starts must be healthy; loading a large model takes minutes."""
    restarts: Annotated[int, How] = Field(2, ge=0, le=100)
    """Deaths of the server that are mended before the run stops."""

    @field_validator("extra_args")
    @classmethod
    def _is_no_option_of_ours(cls, extra: Any) -> Any:
        extra_arguments(extra)
        return extra

    @model_validator(mode="after")
    def _is_for_this_kind_of_server(self) -> "Settings":
        given = self.model_fields_set
        if self.url is None and "api_key_env" in given:
            raise ValueError("`api_key_env` is for a server at a `url`; ours gets a key of its own")
        if self.url is not None and (ours := sorted(given & _START_ONLY)):
            raise ValueError(f"{', '.join(f'`{o}`' for o in ours)} cannot be set for a server that runs already; leave out `url` or these")
        return self


_LAUNCH = {field.name for field in fields(Launch)}
_START_ONLY = (_LAUNCH - {"model", "revision"}) | {"adapter"}
_CLIENT = ("model", "url", "api_key_env", "concurrency", "timeout", "retries", "structured")


def launch_of(entry: str, settings: Settings) -> Launch:
    """What the server of an entry is started with. Raises EngineError where its model is a path, and no folder is there."""
    values = {name: getattr(settings, name) for name in _LAUNCH}
    folder = Path(settings.model or entry).expanduser()
    if settings.model.startswith((".", "/", "~")) and not folder.is_dir():
        raise EngineError(f"{place_of(entry)}.model: found no folder {folder}; give the folder of a model, or its name on the hub")
    values["model"] = str(folder.resolve()) if folder.is_dir() else settings.model or entry
    values["extra_args"] = extra_arguments(settings.extra_args)
    return Launch(**values)


def check_together(settings: Mapping[str, Settings], *, in_turn: bool, devices: plan.Devices | None = None) -> None:
    """Raise RecipeError, in one sentence with figures and settings that would fit, where entries do not fit this machine.

    `settings` by entry name; `in_turn` when one server is stopped before the next is started: then each gets the whole
    device, as was checked. Entries with a `url` take nothing here. Where neither vLLM's environment nor nvidia-smi says what
    devices there are, nothing is checked.
    """
    launches = {entry: launch_of(entry, s) for entry, s in settings.items() if s.url is None}
    if launches:
        plan.check_launches(launches, devices or plan.devices_at_hand(), in_turn=in_turn)
        Server.plan(launches.values(), in_turn=in_turn)


class Engine(openai.Engine):
    """The client of the openai engine, and the server behind it."""

    def __init__(self, name: str, settings: Settings) -> None:
        client = {key: getattr(settings, key) for key in _CLIENT if getattr(settings, key) is not None}
        super().__init__(name, openai.Settings(engine="openai", **{"url": "http://127.0.0.1/v1", **client}))
        self.resident = settings.url is None
        self._asked_for = settings
        self._revision: str | None = None
        self._mending: asyncio.Task[bool] | None = None
        self._server: Server | None = None
        self._adapter = read_adapter(name, settings.adapter) if settings.adapter else None
        if settings.url is None:
            self._server = Server.of(launch_of(name, settings))
            self._server.register(self, self._adapter)
            self.memory = self._server
            self._model = self._adapter.name if self._adapter else self._server.launch.model

    def revision(self) -> str | None:
        if self._server is None:
            return None
        if self._revision is None:
            s, folder = self._asked_for, Path(self._server.launch.model)
            parts = [folder_fingerprint(folder) if folder.is_dir() else s.revision or ""]
            parts += [folder_fingerprint(self._adapter.path)] if self._adapter else []
            # What changes the numbers that a model computes with makes it another model.
            other = {k: v for k, v in (("dtype", s.dtype), ("quantization", s.quantization), ("extra_args", s.extra_args)) if v}
            parts += [digest(other)[:16]] if other != {"dtype": "auto"} else []
            self._revision = "+".join(parts)
        return self._revision or None

    async def start(self) -> None:
        if self._server is not None:
            await asyncio.to_thread(self._server.open, self, self._adapter)
            self._key = self._server.key
        await super().start()

    async def close(self) -> None:
        await super().close()
        if self._server is not None:
            await asyncio.to_thread(self._server.close, self)

    async def _check(self) -> None:
        # Our own server was healthy a moment ago, with our key and our model.
        if self._server is None:
            await super()._check()

    async def _send(self, body: bytes) -> Reply:
        if self._server is None:
            return await super()._send(body)
        while True:
            life, self._url = self._server.life, self._server.url
            try:
                return await super()._send(body)
            except openai.Retry as failure:
                # At once, before any backoff: a dead server answers nobody, and the openai client's pauses would be lost.
                if failure.reason not in _DEATHS or not await self._mended(self._server, life):
                    raise

    async def _mended(self, server: Server, life: int) -> bool:
        if server.life != life:
            return True
        # One thread for all who lost a reply: sixty would take every thread there is.
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(asyncio.to_thread(server.mend, life))
            self._mending.add_done_callback(lambda task: task.cancelled() or task.exception())  # all who waited may have gone
        return await asyncio.shield(self._mending)
