"""Supervised fine-tuning on the chosen answers. The loss is on the answers alone unless `trainer.completion_only_loss: false`."""

from typing import Any, Literal

from pipeline.settings import Anything
from train.methods import Form, Parts
from train.methods import _plain as plain
from train.settings import TrainRecipe

FORM: Form = "demonstrations"
TALKS = True
LONG: Literal["cut", "drop"] = "cut"


def config() -> type[Any]:
    from trl.trainer.sft_config import SFTConfig

    return SFTConfig


def settle(recipe: TrainRecipe, fields: Anything) -> Anything:
    plain.refuse_label_error(recipe)
    return fields


def make(parts: Parts) -> Any:
    from trl.trainer.sft_trainer import SFTTrainer

    return SFTTrainer(**parts.as_arguments())


def fallen(logs: Anything, beta: float, tokens: float) -> float | None:
    """The loss is the answers' own: that it rises shows by itself."""
    return None
