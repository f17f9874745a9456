"""The build flow: collect, then every shard through its stages, then publish. One task a shard and stage; tasks get paths.

    collect -> shards -> [answers -> verdicts -> pairs] each -> finish

Where this machine holds one model at a time, each first answers every shard, into the reply cache.

Prefect keeps the order and shows what happens. What is done is known from the tables themselves, so a run that was
stopped, or that another process began, goes on where the tables end.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import Flow, flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows.recipe import read_recipe, run_of
from pipeline.errors import PairsmithError
from pipeline.finish import finish
from pipeline.recipe import check_recipe
from pipeline.report import markdown
from pipeline.session import Session
from pipeline.settings import Anything
from pipeline.stages import Stage, ask_ahead, collect_shards, is_done, run_stage, stages_of

_WINDOW = 64
"""Shards handed to Prefect at a time: each costs it a few objects a stage, and there may be thousands."""


async def _may_help(task: Any, run: TaskRun, state: State[Any]) -> bool:
    """Only what we did not foresee is retried: a PairsmithError tells the user what to change, and comes again until then."""
    return not isinstance(await state.aresult(raise_on_failure=False), PairsmithError)


@task(name="collect", persist_result=False)
def collect_task(run: str) -> int:
    """The number of shards."""
    return collect_shards(Session.of(run))


@task(name="stage", task_run_name="{stage} {shard}", retries=1, retry_delay_seconds=5, retry_condition_fn=_may_help, persist_result=False)
def stage_task(run: str, stage: Stage, shard: int) -> None:
    """One stage of one shard."""
    run_stage(Session.of(run), stage, shard)


@task(name="ask", task_run_name="ask {model} {shard}", retries=1, retry_delay_seconds=5, retry_condition_fn=_may_help, persist_result=False)
def ask_task(run: str, model: str, shard: int) -> None:
    """One model's answers to one shard, ahead of the stage."""
    ask_ahead(Session.of(run), model, shard)


@task(name="finish", persist_result=False)
def finish_task(run: str) -> Anything:
    """The run's summary."""
    return finish(Session.of(run))


@flow(name="build", persist_result=False)
def build(recipe: str, changes: list[str] | None = None, run: str | None = None) -> Anything:
    """Build what a recipe asks for, with `a.b=c` changes, in a run folder; the run's summary."""
    raw = read_recipe(recipe, changes or [])
    folder = run_of(raw, run)
    with folder.locked():
        folder.begin(raw)
        with Session(folder) as session, _stopped_by_signals(session):
            shards = collect_task(str(folder.path))
            for model in session.in_turn:
                _ask_all(session, model.name, shards)
            for start in range(0, shards, _WINDOW):
                _work_through(session, range(start, min(start + _WINDOW, shards)))
            summary = finish_task(str(folder.path))
    _show(summary)
    news = "nothing new" if summary["unchanged"] else "published"
    asked = summary["usage"]["total"]["requests"]
    get_run_logger().info("%s: %d pairs, %s; %d requests asked", summary["name"], summary["pairs"]["rows"], news, asked)
    return summary


def build_in_lanes(raw: Anything) -> Flow[..., Anything]:
    """The flow with as many shards at once as the recipe says."""
    lanes: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=check_recipe(raw).run.lanes)
    return build.with_options(task_runner=lanes)  # type: ignore[arg-type]


def _ask_all(session: Session, model: str, shards: int) -> None:
    run, left = str(session.run.path), [s for s in range(shards) if not is_done(session, "answers", s)]
    for start in range(0, len(left), _WINDOW):
        asked = [ask_task.submit(run, model, shard) for shard in left[start : start + _WINDOW]]
        for future in asked:
            future.result()


def _work_through(session: Session, shards: range) -> None:
    # Stage by stage, so that no worker sleeps on a task that waits for another; a shard moves on as soon as it may.
    run = str(session.run.path)
    before: dict[int, PrefectFuture[None]] = {}
    every: list[PrefectFuture[None]] = []
    for stage in stages_of(session):
        for shard in shards:
            if shard not in before and is_done(session, stage, shard):
                session.done[stage] += 1
                continue
            waits = [before[shard]] if shard in before else []
            before[shard] = stage_task.submit(run, stage, shard, wait_for=waits)  # type: ignore[call-overload]
            every.append(before[shard])
    for future in every:
        future.result()


def _show(summary: Anything) -> None:
    name = "".join(c if c.isalnum() else "-" for c in summary["name"].lower())
    create_markdown_artifact(key=f"{name}-summary", markdown=markdown(summary, summary["usage"], summary["unchanged"]))
    create_table_artifact(key=f"{name}-stages", table=[{**s, "dropped": s["in"] - s["out"]} for s in summary["stages"]])


@contextmanager
def _stopped_by_signals(session: Session) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the waiting at once; a worker would otherwise hold the process until its shard is through."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        session.interrupt()
        raise KeyboardInterrupt

    former = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
