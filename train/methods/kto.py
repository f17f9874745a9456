"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024): thumbs up and down on single answers, no pairs needed."""

from typing import Any, Literal

from pipeline.errors import RecipeError
from pipeline.settings import Anything
from train.methods import Form, Parts
from train.methods import _plain as plain
from train.settings import TrainRecipe

FORM: Form = "unpaired"
TALKS = True
LONG: Literal["cut", "drop"] = "cut"


def config() -> type[Any]:
    from trl.trainer.kto_config import KTOConfig

    return KTOConfig


def settle(recipe: TrainRecipe, fields: Anything) -> Anything:
    plain.refuse_label_error(recipe)
    if fields.get("loss_type", "kto") != "kto":
        return fields
    if fields["per_device_train_batch_size"] < 2:
        raise RecipeError("trainer.per_device_train_batch_size: found 1, and KTO estimates its KL term within a batch; set 2 or more")
    if fields["train_sampling_strategy"] != "sequential":
        raise RecipeError("trainer.train_sampling_strategy: KTO's KL term wants the rows in our order; leave the field out")
    return fields


def make(parts: Parts) -> Any:
    from trl.trainer.kto_trainer import KTOTrainer

    return KTOTrainer(ref_model=parts.reference, **parts.as_arguments())


def fallen(logs: Anything, beta: float, tokens: float) -> float | None:
    """As in DPO; a batch without a chosen answer says nothing."""
    reward = logs.get("rewards/chosen", logs.get("eval_rewards/chosen"))
    return None if reward is None or reward != reward else -reward / beta / tokens
