"""A reward model and its tokenizer in memory: a classifier with one output, which reads a conversation and says how good it is."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.engines._causal_lm import TURN, device_at, one_line
from pipeline.errors import EngineError, RequestFailed
from pipeline.fingerprint import folder_fingerprint
from pipeline.records import Message
from pipeline.settings import Anything

if TYPE_CHECKING:
    from pipeline.judges.reward import Settings

Score = float | RequestFailed
"""What a conversation got, or why it got nothing."""

_DIGITS = 4
"""Of a score: what a batch's shape moves lies behind them."""


class RewardModel:
    """Loaded when the first conversation is scored; `place` is what errors call it."""

    def __init__(self, place: str, settings: "Settings") -> None:
        self._place, self._settings = place, settings
        folder = Path(settings.model).expanduser()
        self._path = str(folder) if folder.is_dir() else settings.model
        self._loading = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None
        self._check_folder(folder)

    def revision(self) -> str:
        """A fingerprint of a local folder, or the user's word."""
        folder = Path(self._path)
        return folder_fingerprint(folder) if folder.is_dir() else self._settings.revision or ""

    async def scores(self, conversations: Sequence[Sequence[Message]]) -> list[Score]:
        """One for each, in their order. They are put into batches by themselves: the same ones get the same scores on a CPU.

        Raises EngineError where the model cannot be had.
        """
        return await asyncio.to_thread(self._scores, conversations)

    def _scores(self, conversations: Sequence[Sequence[Message]]) -> list[Score]:
        with self._loading:
            if self._loaded is None:
                with TURN:
                    self._loaded = self._load()
        tokenizer, model = self._loaded
        scores: dict[int, Score] = {}
        encoded: dict[int, list[int]] = {}
        with TURN:
            for row, conversation in enumerate(conversations):
                try:
                    encoded[row] = self._encode(tokenizer, model, conversation)
                except RequestFailed as failure:
                    scores[row] = failure
            by_length = sorted(encoded, key=lambda row: (len(encoded[row]), row))
            # A model that knows no padding takes the last token as the end: padded rows would end elsewhere.
            size = self._settings.batch_size if model.config.get_text_config().pad_token_id is not None else 1
            for batch in (by_length[at : at + size] for at in range(0, len(by_length), size)):
                scores |= zip(batch, self._forward(model, [encoded[row] for row in batch]), strict=True)
        return [scores[row] for row in range(len(conversations))]

    def _encode(self, tokenizer: Any, model: Any, conversation: Sequence[Message]) -> list[int]:
        from jinja2 import TemplateError

        try:
            text = tokenizer.apply_chat_template([*conversation], tokenize=False)
        except (TemplateError, TypeError) as error:
            raise RequestFailed("rejected", f"the chat template of {self._path} refuses what it is given: {error}") from error
        tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None and len(tokens) > context:
            raise RequestFailed("context_length", f"prompt and answer have {len(tokens)} tokens, and {self._path} reads at most {context}")
        return tokens

    def _forward(self, model: Any, rows: list[list[int]]) -> list[float]:
        import torch

        width, pad = max(map(len, rows)), model.config.get_text_config().pad_token_id or 0
        with torch.inference_mode():
            try:
                made = model(
                    input_ids=torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=model.device),
                    attention_mask=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device),
                )
            except torch.OutOfMemoryError as error:
                raise EngineError(f"{self._place}: found too little memory ({one_line(error)}); lower its batch_size") from error
        return [round(score, _DIGITS) for score in made.logits[:, 0].float().tolist()]

    def _check_folder(self, folder: Path) -> None:
        """What can be seen without loading anything is said at once, before any answer is paid for."""
        if not folder.is_dir():
            if self._settings.model.startswith((".", "/", "~")):
                raise EngineError(f"{self._place}: found no folder {folder}; give the folder of a reward model, or its name on the hub")
            return
        config = folder / "config.json"
        try:
            found = orjson.loads(config.read_bytes()) if config.is_file() else {}
        except orjson.JSONDecodeError:
            found = {}
        kinds = found.get("architectures") or [] if isinstance(found, dict) else []
        if not any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
            raise EngineError(self._refusal(f"its config.json names {', '.join(map(str, kinds)) or 'no architecture'}"))

    def _load(self) -> tuple[Any, Any]:
        """The tokenizer and the model. Raises EngineError with one sentence when either cannot be had, or it is no reward model."""
        try:
            import torch  # noqa: F401 - transformers alone imports without it
            from safetensors import SafetensorError
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            raise EngineError(f"{self._place} needs torch and transformers ({error}); install pairsmith[train]") from error

        s, device = self._settings, device_at(self._place, self._settings.device)
        where: Anything = {"revision": s.revision} if s.revision and not Path(self._path).is_dir() else {}
        load: Any = AutoModelForSequenceClassification.from_pretrained
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._path, **where)
            model, found = load(self._path, dtype=s.dtype, use_safetensors=True, output_loading_info=True, **where)
        except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
            why = "it needs code of its own, which is never run" if "trust_remote_code" in str(error) else one_line(error)
            raise EngineError(self._refusal(why)) from error
        if found["missing_keys"]:  # transformers would make the head up
            raise EngineError(self._refusal(f"its files lack weights, such as {min(found['missing_keys'])}"))
        if model.config.num_labels != 1:
            raise EngineError(self._refusal(f"it has {model.config.num_labels} outputs and not one"))
        if tokenizer.chat_template is None:
            raise EngineError(self._refusal("its tokenizer has no chat template"))
        return tokenizer, model.to(device).eval()

    def _refusal(self, why: str) -> str:
        return (
            f"{self._place}: {self._path} is no reward model that can be used here: {why}; wanted a sequence classifier with one "
            "output and a chat template, as safetensors that transformers knows"
        )
