"""Trackers, beside the log that every training writes: TensorBoard, W&B and trackio, as far as the recipe's `report_to` names them.

They get the rows of log.jsonl from transformers' own callbacks. Their packages are not among ours. Where they put what they get
follows from their own environment variables; what those leave open is said here, so that nothing lands in the working folder.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from pipeline.errors import EngineError, RecipeError
from train.settings import TrainRecipe

PROJECT = "pairsmith"
"""Under which W&B and trackio gather trainings, where nobody says otherwise."""


def check_trackers(recipe: TrainRecipe) -> None:
    """RecipeError for a tracker whose package is not installed."""
    for name in recipe.report_to:
        found = find_spec(name)
        # A folder `wandb`, as its runs leave behind, would be found too; it has no file to be loaded from.
        if found is None or found.origin is None:
            raise RecipeError(f"report_to: the package '{name}' is not installed; run `pip install {name}`, or take it out of report_to")


def prepare_trackers(recipe: TrainRecipe) -> None:
    """Say where they write, before they are loaded: into the output folder, W&B offline and online alike."""
    if "tensorboard" in recipe.report_to:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(recipe.folder / "tensorboard"))
    if "wandb" in recipe.report_to:
        os.environ.setdefault("WANDB_DIR", str(recipe.folder))
        os.environ.setdefault("WANDB_PROJECT", PROJECT)
        os.environ.setdefault("WANDB_SILENT", "true")


@contextmanager
def tracked(recipe: TrainRecipe) -> Iterator[None]:
    """Turn what W&B says of a missing key or a server that does not answer into a sentence; it says so when training begins."""
    if "wandb" not in recipe.report_to:
        yield
        return
    try:
        yield
    except import_module("wandb.errors").Error as error:
        said = " ".join(str(error).split())[:200]
        raise EngineError(
            f"W&B cannot be used ({said}); export WANDB_API_KEY=…, or WANDB_MODE=offline to keep the run in the output folder, or take "
            "wandb out of report_to; and run the same command again"
        ) from error
