"""What a person sees while a run works: replies with rate, tokens, dollars and time left. Nothing off a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import comb
from pathlib import Path
from threading import Event, Thread

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.budget import Usage
from pipeline.judges import requests_of
from pipeline.session import Session

_LOOK_SECONDS = 0.25


@contextmanager
def progress_bars(console: Console, run: Path) -> Iterator[None]:
    """Show the progress of the run that this process works on, until the block ends; nothing where there is no terminal."""
    if not console.is_terminal:
        yield
        return
    columns = (
        TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    ended = Event()
    with Progress(*columns, console=console) as progress:
        watcher = Thread(target=_watch, args=(progress, run, ended), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _watch(progress: Progress, run: Path, ended: Event) -> None:
    bars: dict[str, TaskID] = {}
    last = False
    while not last:
        last = ended.wait(_LOOK_SECONDS)
        session = Session.opened(run)
        if session is None or not session.prompts:
            continue
        for stage, (expected, usage) in _work(session).items():
            came = usage.requests + usage.cached
            if not came:
                continue
            if stage not in bars:  # a bar's clock starts with its first reply
                bars[stage] = progress.add_task(stage, total=expected, note="")
            progress.update(bars[stage], total=expected, completed=came, note=_note(progress, bars[stage], usage))


def _work(session: Session) -> dict[str, tuple[int, Usage]]:
    """Replies to expect and what was spent on them, for answers and for verdicts."""
    paid = [m for m in session.models.values() if m.engine.paid]
    generation = Usage()
    for model in paid:
        generation.add(session.budget.of(model.name))
    work = {"answers": (session.prompts * sum(m.settings.samples for m in paid), generation)} if paid else {}
    if session.judge is not None and session.judge_models:
        judging = Usage()
        for name in session.judge_models:
            judging.add(session.budget.of(name))
        answers = sum(m.settings.samples for m in session.models.values())
        work["verdicts"] = (session.prompts * requests_of(session.judge, answers, _meetings(session)), judging)
    return work


def _meetings(session: Session) -> int:
    samples = {name: m.settings.samples for name, m in session.models.items()}
    if session.pair_settings.meeting == "all":
        return comb(sum(samples.values()), 2)
    strong, weak = (sum(samples[n] for n, role in session.roles.items() if role == r) for r in ("strong", "weak"))
    return strong * weak


def _note(progress: Progress, bar: TaskID, usage: Usage) -> str:
    task = next(t for t in progress.tasks if t.id == bar)
    elapsed = task.finished_time or task.elapsed
    rate = f"{usage.requests / elapsed:.0f}/s" if elapsed else ""
    cached = f"{usage.cached:,} from cache" if usage.cached else ""
    failed = f"{usage.failed:,} failed" if usage.failed else ""
    money = f"${usage.dollars:.2f}" if usage.dollars else ""
    return ", ".join(n for n in (rate, f"{usage.tokens:,} tokens", cached, failed, money) if n)
