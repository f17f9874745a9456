"""Everything about a training that can be known, and refused, before its weights are loaded."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import RecipeError
from pipeline.settings import Anything
from pipeline.sources import at_hand
from train import base
from train.arguments import check_fields, settled_fields
from train.data import Data, read_data
from train.defaults import Device
from train.settings import TrainRecipe, check_train_recipe
from train.trackers import check_trackers

if TYPE_CHECKING:
    from train.plan import Plan


@dataclass(frozen=True, slots=True)
class Asked:
    """A recipe with its data, its tokenizer and its plan."""

    raw: Anything
    recipe: TrainRecipe
    device: Device
    fields: Anything
    """TRL's, as they will be set."""
    tokenizer: Any
    data: Data
    """As it was read; max_length may still take rows out."""
    plan: "Plan"


def ask(raw: Anything) -> Asked:
    """Check, read and plan. Raises PairsmithError with one sentence on the first thing that is wrong."""
    from train.plan import make_plan

    recipe = check_train_recipe(raw)
    check_fields(recipe)
    _check_places(recipe)
    config = base.load_config(recipe.model)
    device = base.this_device()
    fields = settled_fields(recipe, device, base.context_of(config))
    data = read_data(recipe)
    tokenizer = base.load_tokenizer(recipe.model, conversational=data.conversational)
    if recipe.adapter.start is not None:
        base.check_base(recipe, at_hand(recipe.adapter.start))
    plan = make_plan(recipe, fields, data.train, tokenizer, config=config)
    return Asked(raw, recipe, device, fields, tokenizer, data, plan)


def _check_places(recipe: TrainRecipe) -> None:
    check_trackers(recipe)
    if recipe.output.push and not os.environ.get("HF_TOKEN", "").strip():
        raise RecipeError("output.push needs a token, and HF_TOKEN is not set; export HF_TOKEN=… (a token that may write)")


def made_of(asked: Asked) -> Anything:
    """What a training is made of besides its recipe: when this differs, it is another training."""
    recipe = asked.recipe
    found: Anything = {
        "data": {"path": label(recipe.data.path), "version": asked.data.digest},
        "model": {"path": label(recipe.model.path), "fingerprint": base.fingerprint(recipe.model)},
    }
    if recipe.adapter.start is not None:
        from pipeline.fingerprint import folder_fingerprint

        found["start"] = {"fingerprint": folder_fingerprint(at_hand(recipe.adapter.start))}
    return found


def label(path: str) -> str:
    """A path as it may be shown to others: where a folder lies on this machine is nobody else's business."""
    given = at_hand(path)
    return given.name if (given.is_absolute() and path == str(given)) or path.startswith(("~", "..")) else path
