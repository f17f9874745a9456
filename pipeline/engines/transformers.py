"""A model in this process, through transformers: for laptops and small models, where a server is too much.

Requests that wait at the same time are generated together, in batches of equal sampling parameters. What a batch holds
depends on who asks when, and rounding depends on a batch's shape: the same request in the same batch gives the same text,
greedy or seeded, and no more than that is promised. It is the reply cache that makes a run repeatable.
"""

import asyncio
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from pipeline.errors import EngineError, RequestFailed
from pipeline.fingerprint import folder_fingerprint
from pipeline.records import Reply, Request, Sampling
from pipeline.settings import Anything, How, ModelSettings

_GATHER = 0.01
"""Seconds that a batch with room left waits for company."""
_TURN = threading.Lock()
"""The models of a process take turns: they share its processor, and torch's one source of chance."""
_OURS = {"do_sample", "eos_token_id", "max_length", "max_new_tokens", "num_return_sequences", "pad_token_id"} | {
    "return_dict_in_generate", "stop_strings", "temperature", "top_p", "transformers_version"
}  # fmt: skip
"""Settings of generate() that follow from the recipe's own fields or that the engine relies on; not to be set by `extra`."""


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


_Results = list[Reply | RequestFailed]


class Engine:
    """Gathers requests into batches and generates one batch at a time, in a thread."""

    paid = True
    structured = False

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.concurrency = 4 * settings.batch_size  # so that batches fill although each sample has a seed of its own
        folder = Path(settings.model or name).expanduser()
        self._path = str(folder) if folder.is_dir() else settings.model or name
        self._revision: str | None = None
        self._model: _Model | None = None
        self._open: dict[bytes, tuple[_Batch, asyncio.Task[_Results]]] = {}
        self._next = asyncio.Lock()

    def revision(self) -> str | None:
        if self._revision is None:
            folder, adapter = Path(self._path), self.settings.adapter
            base = folder_fingerprint(folder) if folder.is_dir() else self.settings.revision or ""
            self._revision = f"{base}+{folder_fingerprint(Path(adapter).expanduser())}" if adapter else base
        return self._revision or None

    async def start(self) -> None:
        self._model = await asyncio.to_thread(_Model, self.name, self._path, self.settings)

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

    def _join(self, request: Request) -> tuple[_Batch, int, asyncio.Task[_Results]]:
        key = orjson.dumps(request.sampling, option=orjson.OPT_SORT_KEYS)
        if key not in self._open:
            batch = _Batch()
            self._open[key] = batch, asyncio.create_task(self._generate(batch, key))
        batch, task = self._open[key]
        batch.requests.append(request)
        if len(batch.requests) == self.settings.batch_size:
            del self._open[key]
        return batch, len(batch.requests) - 1, task

    async def _generate(self, batch: _Batch, key: bytes) -> _Results:
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


class _Model:
    """A model and its tokenizer in memory. Used from one thread at a time."""

    def __init__(self, name: str, path: str, settings: Settings) -> None:
        self._name = name
        with _TURN:  # two threads that import transformers at once find it half made
            self._tokenizer, self._model = _load(name, path, settings)
        if self._tokenizer.chat_template is None:
            raise EngineError(
                f"the tokenizer of {path} has no chat template, and model '{name}' is asked in messages; "
                f"set models.{name}.model to an instruction-tuned model, or put a chat_template.jinja into its folder"
            )
        self._context: int | None = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        ends = self._model.generation_config.eos_token_id
        self._ends: set[int] = {*(ends if isinstance(ends, list) else [ends]), self._tokenizer.eos_token_id} - {None}
        pad = self._tokenizer.pad_token_id
        self._pad: int = pad if pad is not None else min(self._ends, default=0)

    def replies(self, requests: Sequence[Request], abandoned: Callable[[], bool]) -> _Results:
        """One result per request, in their order. All requests have the same sampling parameters."""
        sampling = requests[0].sampling
        options, template = self._options(sampling)
        results: dict[int, Reply | RequestFailed] = {}
        prompts_by_room: dict[int, dict[int, list[int]]] = {}
        with _TURN:
            for row, request in enumerate(requests):
                try:
                    tokens = self._encode(request, template)
                except RequestFailed as failure:
                    results[row] = failure
                else:
                    room = sampling.get("max_tokens", 1024)
                    room = room if self._context is None else min(room, self._context - len(tokens))
                    prompts_by_room.setdefault(room, {})[row] = tokens
            # A row near the end of the context is not generated with the others: it would run beyond the context.
            for room, prompts in prompts_by_room.items():
                replies = self._generate([*prompts.values()], {**options, "max_new_tokens": room}, sampling, abandoned)
                results |= zip(prompts, replies, strict=True)
        return [results[row] for row in range(len(requests))]

    def _options(self, sampling: Sampling) -> tuple[Anything, Anything]:
        """The sampling parameters as generate() takes them, and what the chat template is given."""
        options: Anything = dict(sampling.get("extra", {}))
        template = options.pop("chat_template_kwargs", {})
        for key in sorted(options.keys() - (self._model.generation_config.to_dict().keys() - _OURS)):
            raise EngineError(
                f"sampling.extra of model '{self._name}' holds '{key}'; wanted chat_template_kwargs, or a setting of generate() that "
                "the recipe has no field for, such as top_k or repetition_penalty: take it out"
            )
        if sampling.get("temperature", 1.0) == 0:
            return {"top_k": None, **options, "do_sample": False, "temperature": None, "top_p": None}, template
        asked = {key: value for key, value in sampling.items() if key in ("temperature", "top_p")}
        # Where neither the recipe nor the model's own files say top_k, generate() would cut at 50, which nobody asked for.
        return {"top_k": self._model.generation_config.top_k or 0, **options, "do_sample": True, **asked}, template

    def _encode(self, request: Request, template: Anything) -> list[int]:
        from jinja2 import TemplateError

        try:
            text = self._tokenizer.apply_chat_template([*request.messages], add_generation_prompt=True, tokenize=False, **template)
        except (TemplateError, TypeError) as error:
            raise RequestFailed("rejected", f"the chat template of '{self._name}' refuses what it is given: {error}") from error
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        if self._context is not None and len(tokens) >= self._context:
            detail = f"the prompt has {len(tokens)} tokens, and '{self._name}' reads at most {self._context - 1} before it answers"
            raise RequestFailed("context_length", detail)
        return tokens

    def _generate(self, prompts: list[list[int]], options: Anything, sampling: Sampling, abandoned: Callable[[], bool]) -> list[Reply]:
        import torch

        stop, seed, device = sampling.get("stop", []), sampling.get("seed"), self._model.device
        width = max(map(len, prompts))
        with torch.random.fork_rng([device] if device.type == "cuda" else [], enabled=seed is not None), torch.inference_mode():
            if seed is not None:
                torch.manual_seed(seed)
            try:
                made = self._model.generate(
                    input_ids=torch.tensor([[self._pad] * (width - len(p)) + p for p in prompts], device=device),
                    attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device),
                    stopping_criteria=[self._stopper(stop, width, abandoned)],
                    eos_token_id=sorted(self._ends) or None,
                    pad_token_id=self._pad,
                    **options,
                )
            except (TypeError, ValueError) as error:
                raise EngineError(f"generate() refused the sampling of model '{self._name}': {_line(error)}; mend its sampling") from error
            except torch.OutOfMemoryError as error:
                raise EngineError(f"model '{self._name}' found too little memory ({_line(error)}); lower its batch_size") from error
        return [self._reply(len(p), answer, stop) for p, answer in zip(prompts, made[:, width:].tolist(), strict=True)]

    def _stopper(self, stop: Sequence[str], width: int, abandoned: Callable[[], bool]) -> Callable[..., Any]:
        """Says of each row, after each token, whether it is done: it said a stop text, or nobody waits any more."""
        import torch

        # Every token but a special one is at least a byte: so many tokens hold any stop text that has just been completed.
        reach = max((len(s.encode()) for s in stop), default=0) + 4

        def stopped(ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            over = abandoned()
            tails = ids[:, max(width, ids.shape[1] - reach) :].tolist()
            return torch.tensor([over or self._says(stop, tail) for tail in tails], device=ids.device)

        return stopped

    def _reply(self, prompt_tokens: int, answer: list[int], stop: Sequence[str]) -> Reply:
        """`answer` is padded once it has ended."""
        end = next((i for i, token in enumerate(answer) if token in self._ends), len(answer))
        text = self._text(answer[:end])
        if not self._says(stop, answer[:end]):
            return Reply(text, "stop" if end < len(answer) else "length", prompt_tokens, min(end + 1, len(answer)))
        used = bisect_left(range(end), True, key=lambda n: self._says(stop, answer[:n]))
        return Reply(text[: min(text.index(s) for s in stop if s in text)], "stop", prompt_tokens, used)

    def _says(self, stop: Sequence[str], tokens: list[int]) -> bool:
        return bool(stop) and any(s in self._text(tokens) for s in stop)

    def _text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))


def _load(name: str, path: str, settings: Settings) -> tuple[Any, Any]:
    """The tokenizer and the model. Raises EngineError with one sentence when either cannot be had."""
    try:
        import torch  # noqa: F401 - transformers alone imports without it
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise EngineError(f"model '{name}' needs torch and transformers ({error}); install pairsmith[train]") from error

    device, local = _device(name, settings.device), Path(path).is_dir()
    where: Anything = {"revision": settings.revision} if settings.revision and not local else {}
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **where)
        model, found = load(path, dtype=settings.dtype, use_safetensors=True, output_loading_info=True, **where)
        if found["missing_keys"]:  # transformers would make them up
            raise ValueError(f"its files lack weights, such as {min(found['missing_keys'])}")
        if settings.adapter:
            model = _adapted(model, Path(settings.adapter).expanduser())
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        why = "it needs code of its own, which is never run" if "trust_remote_code" in str(error) else _line(error)
        raise EngineError(
            f"cannot load model '{name}' from {path}, {'a folder' if local else 'which is no folder here'}: {why}; set models.{name}.model "
            "to the hub name of a model that transformers knows, or to a folder with its configuration, tokenizer and safetensors"
        ) from error
    return tokenizer, model.to(device).eval()


def _adapted(model: Any, adapter: Path) -> Any:
    if not (adapter / "adapter_model.safetensors").is_file():  # peft would fall back to a pickle
        raise OSError(f"its adapter folder {adapter} holds no adapter_model.safetensors")
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(adapter))


def _device(name: str, device: str) -> str:
    import torch

    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(kind for kind, there in usable.items() if there)
    if not usable[device.partition(":")[0]]:
        raise EngineError(f"models.{name}.device is {device}, and torch finds no such device here; set it to auto")
    return device


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
