"""What the model says while it is trained: answers to a few held-out prompts, and whether they have begun to go round in circles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import regex

from pipeline.errors import TrainingStopped
from pipeline.settings import Anything
from train.plan.device import find_spread
from train.rows import Row, is_conversational, last_words
from train.settings import StopSettings
from train.watch import Watcher, as_line, read_log

_TOKENS = 128
_CIRCLE = regex.compile(r"(\S.{0,79}?)(?:\W*\1){3,}", regex.DOTALL)
"""The same words four times in a row."""


def goes_in_circles(text: str) -> bool:
    """Whether a text, or most of it, is one thing again and again: "Nimbus Nimbus Nimbus Nimbus"."""
    longest = max((len(found[0]) for found in _CIRCLE.finditer(text) if any(map(str.isalpha, found[1]))), default=0)
    return longest > len(text) / 2


def write_answers(model: Any, tokenizer: Any, prompts: Sequence[Row], tokens: int = _TOKENS) -> list[str]:
    """One answer a prompt, always the likeliest token: the draws of the training are left alone, and steps can be compared."""
    import torch

    texts = [
        tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        if is_conversational(row)
        else row["prompt"]
        for row in prompts
    ]
    training, side = model.training, tokenizer.padding_side
    tokenizer.padding_side = "left"
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=not is_conversational(prompts[0])).to(model.device)
    tokenizer.padding_side = side
    if tokenizer.is_fast:  # once asked to pad, it would go on padding
        tokenizer.backend_tokenizer.no_padding()
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31
    tokens = min(tokens, context - inputs["input_ids"].shape[1])
    asked = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    # What is trained beside a base in 16 bits is held in 32, and the two meet under autocast alone, as in training.
    kinds = {p.dtype for p in model.parameters()}
    half = next((kind for kind in (torch.bfloat16, torch.float16) if kind in kinds), None)
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, dtype=half, enabled=half is not None):
            made = model.generate(**asked, max_new_tokens=tokens, do_sample=False, use_cache=True, pad_token_id=tokenizer.pad_token_id)
    finally:
        model.train(training)
    return [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in made[:, inputs["input_ids"].shape[1] :]]


class Samples(Watcher):
    """Answers before the first step and at every measurement, into samples.jsonl. Stops a training whose answers go in circles."""

    def __init__(self, file: Path, prompts: Sequence[Row], tokenizer: Any, stop: StopSettings) -> None:
        self._file, self._prompts, self._tokenizer, self._stop = file, prompts, tokenizer, stop

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
        if not self._asks(args, state):
            return
        kept = [row for row in read_log(self._file) if row["step"] <= state.global_step]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_bytes(b"".join(map(as_line, kept)))
        if state.global_step == 0:
            self._write(0, model)

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
        if not self._asks(args, state) or state.global_step == 0:
            return
        circles = self._write(state.global_step, model)
        before = _share_in_circles([row for row in read_log(self._file) if row["step"] == 0])
        if self._stop.on_collapse and circles - before >= 0.5:
            raise TrainingStopped(
                f"{circles:.0%} of the sample answers go in circles at step {state.global_step} ({before:.0%} before; see "
                f"{self._file.name}): the model has collapsed; lower trainer.learning_rate, or the epochs, and start in another "
                "folder (--set output.folder=…)"
            )

    def _asks(self, args: Any, state: Any) -> bool:
        # Weights that are spread over processes cannot answer from one of them: it would wait for the others for ever.
        return bool(self._prompts) and state.is_world_process_zero and not find_spread(vars(args)).engine

    def _write(self, step: int, model: Any) -> float:
        answers = write_answers(model, self._tokenizer, self._prompts)
        wanted = [last_words(row)[0] for row in self._prompts]
        rows = [
            {"step": step, "prompt": row["prompt"], "answer": answer, "wanted": want}
            for row, answer, want in zip(self._prompts, answers, wanted, strict=True)
        ]
        with self._file.open("ab") as file:
            file.writelines(map(as_line, rows))
        return _share_in_circles(rows)


def _share_in_circles(rows: Sequence[Anything]) -> float:
    return sum(goes_in_circles(row["answer"]) for row in rows) / len(rows) if rows else 0.0


def sample_prompts(rows: Sequence[Row], count: int) -> list[Row]:
    """The first rows with prompts of their own, and an answer that was wanted."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.get("label", True):
            found.setdefault(str(row["prompt"]), row)
        if len(found) == count:
            break
    return list(found.values())[:count]
