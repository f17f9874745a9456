"""A Bradley-Terry reward model from the pairs: a score for an answer, the chosen one's above the rejected one's."""

from typing import Any, Literal

from pipeline.settings import Anything
from train.methods import Form, Parts
from train.methods import _plain as plain
from train.settings import TrainRecipe

FORM: Form = "pairs"
TALKS = False
LONG: Literal["cut", "drop"] = "drop"


def config() -> type[Any]:
    from trl.trainer.reward_config import RewardConfig

    return RewardConfig


def settle(recipe: TrainRecipe, fields: Anything) -> Anything:
    plain.refuse_label_error(recipe)
    return fields


def make(parts: Parts) -> Any:
    from trl.trainer.reward_trainer import RewardTrainer

    return RewardTrainer(**parts.as_arguments())


def fallen(logs: Anything, beta: float, tokens: float) -> float | None:
    """A reward model writes nothing."""
    return None
