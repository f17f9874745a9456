"""From what the user typed to a recipe and a run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline import ROOT
from pipeline.model import make_engine
from pipeline.recipe import check_recipe, load_recipe
from pipeline.runs import Run
from pipeline.settings import Anything, judge_models
from pipeline.sources import at_hand


def kind_of(raw: Anything) -> Literal["dataset", "identity", "training"]:
    """What a recipe is for: one that names a `maker` for an identity dataset, one that names one model and its data for a training."""
    if "maker" in raw:
        return "identity"
    return "training" if {"model", "data"} <= raw.keys() else "dataset"


def read_recipe(path: str, changes: Sequence[str]) -> Anything:
    """The merged recipe as it was asked, after everything in it was checked. Recipes of ours are found from anywhere."""
    raw = load_recipe(at_hand(path), changes)
    recipe = check_recipe(raw)
    for name in recipe.models:
        make_engine(name, recipe.model(name))
    for name, settings in judge_models(recipe.judge).items() if recipe.judge else ():
        make_engine(name, settings)
    return raw


def run_of(raw: Anything, folder: str | None) -> Run:
    """The run folder: the one that is given, the recipe's, or data/runs/NAME; a limited run has one of its own."""
    recipe = check_recipe(raw)
    limit = f"-first-{recipe.prompts.limit}" if recipe.prompts.limit else ""
    given = folder or recipe.run.folder
    return Run(Path(given) if given else ROOT / "data" / "runs" / f"{recipe.name}{limit}")
