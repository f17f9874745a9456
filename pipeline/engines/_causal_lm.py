"""A causal language model and its tokenizer in memory: what the transformers engine loads and generates with."""

import logging
import os
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.engines._likely import Likely
from pipeline.errors import EngineError, RequestFailed
from pipeline.records import Reply, Request, Sampling
from pipeline.settings import Anything, place_of

if TYPE_CHECKING:
    from pipeline.engines.transformers import Settings

TURN = threading.Lock()
"""The models of a process take turns: they share its processor, and torch's one source of chance."""
_OURS = {"do_sample", "eos_token_id", "max_length", "max_new_tokens", "num_return_sequences", "pad_token_id"} | {
    "return_dict_in_generate", "stop_strings", "temperature", "top_p", "transformers_version"
}  # fmt: skip
"""Settings of generate() that follow from the recipe's own fields or that the engine relies on; not to be set by `extra`."""


Results = list[Reply | RequestFailed]


class CausalLM:
    """A model and its tokenizer in memory. Used from one thread at a time."""

    def __init__(self, name: str, path: str, settings: "Settings") -> None:
        self._name = name
        with TURN:  # two threads that import transformers at once find it half made
            self._tokenizer, self._model = _load(name, path, settings)
        if self._tokenizer.chat_template is None:
            raise EngineError(
                f"the tokenizer of {path} has no chat template, and model '{name}' is asked in messages; "
                f"set {place_of(name)}.model to an instruction-tuned model, or put a chat_template.jinja into its folder"
            )
        self._context: int | None = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        ends = self._model.generation_config.eos_token_id
        self._ends: set[int] = {*(ends if isinstance(ends, list) else [ends]), self._tokenizer.eos_token_id} - {None}
        pad = self._tokenizer.pad_token_id
        self._pad: int = pad if pad is not None else min(self._ends, default=0)

    def replies(self, requests: Sequence[Request], abandoned: Callable[[], bool]) -> Results:
        """One result per request, in their order. All requests have the same sampling parameters, and want as many logprobs."""
        sampling = requests[0].sampling
        options, template = self._options(sampling)
        results: dict[int, Reply | RequestFailed] = {}
        prompts_by_room: dict[int, dict[int, list[int]]] = {}
        with TURN:
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
                options["max_new_tokens"] = room
                replies = self._generate([*prompts.values()], options, sampling, requests[0].logprobs, abandoned)
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

    def _generate(
        self, prompts: list[list[int]], options: Anything, sampling: Sampling, logprobs: int, abandoned: Callable[[], bool]
    ) -> list[Reply]:
        import torch

        stop, seed, device = sampling.get("stop", []), sampling.get("seed"), self._model.device
        width, likely = max(map(len, prompts)), Likely(logprobs)
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
                    **({"logits_processor": [likely.note]} if logprobs else {}),
                    **options,
                )
            except (TypeError, ValueError) as error:
                raise EngineError(
                    f"generate() refused the sampling of model '{self._name}': {one_line(error)}; mend its sampling"
                ) from error
            except torch.OutOfMemoryError as error:
                raise EngineError(f"model '{self._name}' found too little memory ({one_line(error)}); lower its batch_size") from error
        answers = made[:, width:].tolist()
        replies = [self._reply(len(p), answer, stop) for p, answer in zip(prompts, answers, strict=True)]
        if not logprobs:
            return replies
        return [replace(r, logprobs=likely.of(row, answers[row][: r.completion_tokens], self._token)) for row, r in enumerate(replies)]

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

    def _token(self, token: int) -> str:
        return "" if token in self._ends else str(self._tokenizer.decode([token]))

    def _text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))


def _load(name: str, path: str, settings: "Settings") -> tuple[Any, Any]:
    """The tokenizer and the model. Raises EngineError with one sentence when either cannot be had."""
    # Threads that spin while they wait for each other bring a busy machine to a stand.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import torch  # noqa: F401 - transformers alone imports without it
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise EngineError(f"model '{name}' needs torch and transformers ({error}); install pairsmith[train]") from error

    disable_progress_bar()  # type: ignore[no-untyped-call]  # ours show what is going on
    device, local = device_at(place_of(name), settings.device), Path(path).is_dir()
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
        why = "it needs code of its own, which is never run" if "trust_remote_code" in str(error) else one_line(error)
        raise EngineError(
            f"cannot load model '{name}' from {path}, {'a folder' if local else 'which is no folder here'}: {why}; "
            f"set {place_of(name)}.model to the hub name of a model that transformers knows, or to a folder with its configuration, "
            "tokenizer and safetensors"
        ) from error
    return tokenizer, model.to(device).eval()


def _adapted(model: Any, adapter: Path) -> Any:
    if not (adapter / "adapter_model.safetensors").is_file():  # peft would fall back to a pickle
        raise OSError(f"its adapter folder {adapter} holds no adapter_model.safetensors")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it, and it says what it could not load
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(adapter))


def device_at(place: str, device: str) -> str:
    """The torch device for a recipe's `device`. EngineError where there is none; `place` is where its model's settings stand."""
    import torch

    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(kind for kind, there in usable.items() if there)
    if not usable[device.partition(":")[0]]:
        raise EngineError(f"{place}.device is {device}, and torch finds no such device here; set it to auto")
    return device


def one_line(error: Exception) -> str:
    """What an error says, without its line breaks and without its end."""
    return " ".join(str(error).split())[:300]
