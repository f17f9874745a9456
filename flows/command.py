"""`pairsmith build`: check first, then start Prefect, run the flow, and say what came of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from rich.console import Console

from flows.progress import progress_bars
from flows.recipe import read_recipe, run_of
from flows.server import prefect_api
from flows.summary import print_summary
from pipeline import ROOT
from pipeline.errors import GateRefused, RecipeError
from pipeline.runs import Run
from pipeline.settings import Anything


def build_command(recipe: str, changes: list[str], folder: str | None, hub: str | None, *, as_json: bool, verbose: bool) -> None:
    raw = read_recipe(recipe, changes)
    run = run_of(raw, folder)
    if hub:
        check_token()
    errors = Console(stderr=True)
    with prefect_api(), quiet_prefect(verbose):
        from flows.build import build_in_lanes

        with progress_bars(errors, run.path):
            summary: Anything = build_in_lanes(raw)(recipe, changes, str(run.path))
    if as_json:
        print(orjson.dumps({**summary, "run": str(run.path)}).decode())
    else:
        ours = Path(recipe).absolute().parent == ROOT / "flows" / "recipes"
        print_summary(Console(soft_wrap=True), run, summary, example=ours)
    if summary["refused"]:
        raise GateRefused(f"nothing was published, since the judge is not what judge.passport asks for: {'; '.join(summary['refused'])}")
    if not summary["pairs"]["rows"]:
        raise GateRefused(f"no pair was left, so nothing was published; see why with: pairsmith inspect {run.path} --dropped all")
    if hub:
        _push(run, hub, errors)


@contextmanager
def quiet_prefect(verbose: bool) -> Iterator[None]:
    """Keep Prefect's messages off the console (they still reach its server): ours say what the user needs."""
    if not verbose:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    try:
        yield
    finally:
        # What is still queued would be sent when the process ends, to a server that has gone by then.
        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=5)


def check_token() -> str:
    """The hub's token from the environment. RecipeError where there is none."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise RecipeError("--push-to-hub needs a token, and HF_TOKEN is not set; export HF_TOKEN=… (a token that may write)")
    return token


def _push(run: Run, hub: str, console: Console) -> None:
    from pipeline.hub import push_to_hub

    console.print(f"Published at {push_to_hub(run.dataset, hub, check_token())}", highlight=False)
