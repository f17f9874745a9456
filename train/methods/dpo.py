"""Direct preference optimisation (Rafailov et al. 2023) with TRL's losses.

The worked example: beta 0.1; the model gives the chosen and the rejected answer log-probabilities of -2.0 and -5.0, the reference
-2.5 and -4.5. Rewards are beta times the difference: 0.1 * 0.5 = 0.05 and 0.1 * -0.5 = -0.05; the margin is 0.10, and the loss
-log(sigmoid(0.10)) = log(1 + e^-0.1) = 0.644.
"""

from typing import Any, Literal

from pipeline.errors import RecipeError, choose_from
from pipeline.settings import Anything
from train.methods import Form, Parts
from train.settings import TrainRecipe

FORM: Form = "pairs"
TALKS = True
LONG: Literal["cut", "drop"] = "cut"

LOSSES = (
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero"),
    *("apo_down", "discopop", "sft", "sigmoid_norm"),
)
SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
"""The losses in which TRL 1.16 reads `label_smoothing`; in all others, `sigmoid` included, it has no effect."""


def config() -> type[Any]:
    from trl.trainer.dpo_config import DPOConfig

    return DPOConfig


def settle(recipe: TrainRecipe, fields: Anything) -> Anything:
    """With the judge's measured error as label smoothing, where the loss has one."""
    losses = _losses(fields)
    if unknown := [name for name in losses if name not in LOSSES]:
        raise RecipeError(f"trainer.loss_type: {unknown[0]!r} is no loss of DPO; {choose_from(str(unknown[0]), LOSSES)}")
    smooth = bool(set(losses) & set(SMOOTHED))
    for place in ("label_error", "trainer.label_smoothing"):
        given = recipe.label_error if place == "label_error" else fields.get("label_smoothing")
        if given and not smooth:
            raise RecipeError(
                f"{place} has no effect in the loss {' + '.join(losses)}; leave it out, or set trainer.loss_type to robust (or one of "
                f"{', '.join(SMOOTHED[1:])})"
            )
    if recipe.label_error is not None:
        fields = {**fields, "label_smoothing": recipe.label_error}
    if "exo_pair" in losses and not fields.get("label_smoothing"):
        raise RecipeError("the loss exo_pair needs a label smoothing above 0; set label_error, or trainer.label_smoothing: 0.001")
    return fields


def make(parts: Parts) -> Any:
    from trl.trainer.dpo_trainer import DPOTrainer

    return DPOTrainer(ref_model=parts.reference, **parts.as_arguments())


def fallen(logs: Anything, beta: float, tokens: float) -> float | None:
    """The reward is beta times the log-probability's gain over the reference, summed over the answer."""
    reward = logs.get("rewards/chosen", logs.get("eval_rewards/chosen"))
    return None if reward is None else -reward / beta / tokens


def _losses(fields: Anything) -> list[str]:
    given = fields.get("loss_type", "sigmoid")
    return [given] if isinstance(given, str) else list(given)
