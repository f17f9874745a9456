"""`pairsmith train`: plan, or start Prefect, run the flow, and say what came of it."""

import os
import sys
from pathlib import Path

import orjson
from rich.console import Console

from flows.command import quiet_prefect
from flows.server import prefect_api
from pipeline.settings import Anything
from train.settings import read_train_recipe


def train_command(recipe: str, changes: list[str], *, plan: bool, as_json: bool, verbose: bool) -> None:
    """Errors come as the training process's own sentence and exit code."""
    read_train_recipe(recipe, changes)
    if plan:
        from flows.train import run_training

        foreseen = run_training(recipe, changes, "--plan")
        if as_json:
            sys.stdout.write(orjson.dumps(foreseen).decode() + "\n")
        return
    own_server = not os.environ.get("PREFECT_API_URL")
    with prefect_api(), quiet_prefect(verbose):
        from flows.train import train, turn

        with turn(own_server):
            summary: Anything = train(recipe, changes)
    if as_json:
        sys.stdout.write(orjson.dumps(summary).decode() + "\n")
    else:
        from train.run import print_summary

        print_summary(Console(soft_wrap=True), Path(summary["folder"]), summary)
