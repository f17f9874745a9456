"""A Bradley-Terry reward model from the pairs: a score for an answer, the chosen one's above the rejected one's."""

from typing import Any, Literal

from pipeline.errors import RecipeError
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
    # The head is trained in 32 bits: without autocast it meets 16-bit states, and torch multiplies no such two.
    dtype, bf16 = recipe.model.dtype, fields.get("bf16")
    if recipe.mode != "full" and not bf16 and (dtype == "bfloat16" or (dtype == "auto" and "bf16" in recipe.trainer)):
        found = f"method reward: found trainer.bf16 false with model.dtype {dtype}"
        raise RecipeError(f"{found}, wanted 16 bits for both or neither; set model.dtype float32, or leave trainer.bf16 out")
    return fields


def make(parts: Parts) -> Any:
    from trl.trainer.reward_trainer import RewardTrainer

    return RewardTrainer(**parts.as_arguments())


def fallen(logs: Anything, beta: float, tokens: float) -> float | None:
    """A reward model writes nothing."""
    return None
