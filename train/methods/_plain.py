"""What the methods without label smoothing and without DPO's log share."""

from pipeline.errors import RecipeError
from train.settings import TrainRecipe


def refuse_label_error(recipe: TrainRecipe) -> None:
    """RecipeError where the recipe states the judge's error: none of these losses can use it."""
    if recipe.label_error is not None:
        raise RecipeError(
            f"label_error: method {recipe.method} cannot take the judge's error into account; leave it out, or use method dpo with "
            "trainer.loss_type: robust"
        )
