"""Annotation as a service: flows that pull, pair anew and push, on a schedule or when Argilla calls.

    annotate    pull -> build -> push, on a schedule
    pull        the first step alone, when a task was completed

Where the backend is away each step is tried again, later and later. Then it is left out with a warning, and the other steps
go on: what could not be sent or fetched now is sent or fetched next time.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State, TaskRun

from flows.annotate import pull_once, push_once, status_once
from pipeline.errors import BackendAway, PairsmithError
from pipeline.runs import Run
from pipeline.settings import Anything

PATIENCE = (30.0, 120.0, 600.0)
"""Seconds until each new try, beside the backend's own tries."""


async def _may_help(task: Any, run: TaskRun, state: State[Any]) -> bool:
    """A backend that is away may come back; other errors of ours come again until the user changes something."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, BackendAway) or not isinstance(error, PairsmithError)


@task(name="pull", retry_condition_fn=_may_help, persist_result=False)
def pull_task(run: str) -> Anything:
    """What people said since the last pull."""
    return pull_once(run).to_json()


@task(name="push", retry_condition_fn=_may_help, persist_result=False)
def push_task(run: str) -> Anything:
    """What is worth a person goes out."""
    return asdict(push_once(run))


@task(name="status", retry_condition_fn=_may_help, persist_result=False)
def status_task(run: str) -> Anything:
    """How far people are."""
    return status_once(run)


@flow(name="annotate", persist_result=False)
def annotate(run: str, patience: Sequence[float] = PATIENCE) -> Anything:
    """Pull, pair by what people say, push; what each step did, and None for one that found the backend away."""
    summary: Anything = {"run": run, "pulled": _unless_away(pull_task, run, patience)}
    try:
        summary["built"] = _build(run)
    finally:  # people get their tasks also where a model's server is away
        summary["pushed"] = _unless_away(push_task, run, patience)
        _show(run, patience)
    return summary


@flow(name="annotate-pull", persist_result=False)
def pull(run: str, patience: Sequence[float] = PATIENCE) -> Anything | None:
    """Pull alone; None where the backend is away."""
    return _unless_away(pull_task, run, patience)


@flow(name="annotate-push", persist_result=False)
def push(run: str, patience: Sequence[float] = PATIENCE) -> Anything | None:
    """Push alone; None where the backend is away."""
    return _unless_away(push_task, run, patience)


def _unless_away(step: Any, run: str, patience: Sequence[float]) -> Anything | None:
    patient = step.with_options(retries=len(patience), retry_delay_seconds=list(patience)) if patience else step
    try:
        done: Anything = patient(run)
    except BackendAway as error:
        get_run_logger().warning("%s is left out this time: %s", step.name, error)
        return None
    return done


def _build(run: str) -> Anything:
    from flows.build import build_in_lanes

    folder = Run(Path(run))
    summary: Anything = build_in_lanes(folder.recipe())(str(folder.recipe_file), [], run)
    return {"pairs": summary["pairs"]["rows"], "unchanged": summary["unchanged"], "requests": summary["usage"]["total"]["requests"]}


def _show(run: str, patience: Sequence[float]) -> None:
    figures = _unless_away(status_task, run, patience[:1])
    if figures:
        name = "".join(c if c.isalnum() else "-" for c in figures["name"].lower())
        rows = [{k: d[k] for k in ("name", "chosen", "tasks", "completed")} for d in figures["datasets"]]
        create_table_artifact(key=f"{name}-annotate", table=rows)
