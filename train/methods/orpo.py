"""Odds-ratio preference optimisation (Hong et al. 2024): SFT on the chosen answer and a preference in one loss, no reference model."""

from typing import Any, Literal

from pipeline.settings import Anything
from train.methods import Form, Parts
from train.methods import _plain as plain
from train.settings import TrainRecipe

FORM: Form = "pairs"
TALKS = True
LONG: Literal["cut", "drop"] = "cut"


def config() -> type[Any]:
    from trl.experimental.orpo import ORPOConfig

    return ORPOConfig


def settle(recipe: TrainRecipe, fields: Anything) -> Anything:
    plain.refuse_label_error(recipe)
    return fields


def make(parts: Parts) -> Any:
    from trl.experimental.orpo import ORPOTrainer

    return ORPOTrainer(**parts.as_arguments())


def fallen(logs: Anything, beta: float, tokens: float) -> float | None:
    """The loss holds the chosen answer's own likelihood: that it falls shows there."""
    return None
