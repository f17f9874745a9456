"""The adapter merged into its base: a model that runs without PEFT, believed only after it was loaded again and asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import RunError
from pipeline.settings import Anything
from train.base import load_adapter, load_model
from train.defaults import Device
from train.lengths import texts_of
from train.rows import Row
from train.settings import ModelSettings, TrainRecipe

MOST_NATS = 0.05
"""How far the merged model's log-probability of a token may be from the adapter's, on average: rounding to 16 bits gives up to 0.02."""


def merge(recipe: TrainRecipe, adapter: Path, into: Path, tokenizer: Any, rows: Sequence[Row], device: Device) -> Anything:
    """Write the merged model to `into`, load it again, and compare what it makes of these rows with what base and adapter make of them.

    The base is loaded in 16 or 32 bits, also where the adapter was trained on 4: weights in 4 bits cannot take an update in.
    Returns the mean and the largest difference in nats a token. Raises RunError where the merged model says something else.
    """
    with_adapter = load_adapter(recipe, load_model(recipe, device, mode="lora"), adapter, trainable=False)
    texts = [text for row in rows for text in texts_of(row, tokenizer)[1:]]
    before = answers_of(with_adapter, tokenizer, texts)
    merged = with_adapter.merge_and_unload()
    merged.save_pretrained(into)
    tokenizer.save_pretrained(into)
    settings = ModelSettings(path=str(into), dtype=recipe.model.dtype, attention=recipe.model.attention)
    after = answers_of(load_model(recipe, device, path=settings, mode="lora"), tokenizer, texts)
    apart = [abs(a - b) for a, b in zip(before, after, strict=True)]
    figures = {"mean_nats": sum(apart) / len(apart), "largest_nats": max(apart), "texts": len(texts)}
    if not figures["mean_nats"] <= MOST_NATS:
        raise RunError(
            f"the merged model is not the adapter's: {figures['mean_nats']:.3f} nats a token apart on {len(texts)} texts (wanted "
            f"{MOST_NATS} at most); use the adapter, or set model.dtype: float32"
        )
    return figures


def answers_of(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[float]:
    """What a model makes of each text: the log-probability of a token, on average; of a reward model its score."""
    import torch

    model.eval()
    found: list[float] = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"].to(model.device)
        with torch.no_grad():
            logits = model(input_ids=ids).logits.float()
        if logits.dim() == 2:
            found.append(float(logits[0, 0]))
            continue
        chances = logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])
        found.append(float(chances.mean()))
    return found
