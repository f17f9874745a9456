"""`pairsmith annotate serve`: a Prefect deployment of the annotate flow, on a schedule, run by this process for as long as it lives."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich.console import Console

from flows.annotate import opened, print_json
from flows.command import quiet_prefect
from flows.deployments import schedule_of
from flows.server import prefect_api
from pipeline.annotate.candidates import asked_of


def serve_command(path: str, cron: str, timezone: str | None, port: int | None, url: str | None, *, as_json: bool) -> None:
    """Serve until interrupted. A run that is late because the last one still works is skipped, not queued."""
    schedule = schedule_of(cron, timezone)
    with opened(path) as (run, _):  # whatever can be seen to be wrong is said at once
        name = asked_of(run).recipe.name
    with prefect_api(schedules=True), quiet_prefect(verbose=True), _listening(run.path, port, url):
        from flows.annotate_service import annotate

        if as_json:
            print_json(run.path, {"name": name, "cron": cron, "webhook": port})
        Console(stderr=True).print(f"Serving the annotation of {run.path} at '{cron}'; Ctrl-C ends it", highlight=False, soft_wrap=True)
        annotate.serve(
            name=name,
            schedules=[schedule],
            parameters={"run": str(run.path)},
            pause_on_shutdown=False,
            print_starting_message=False,
            global_limit=1,
        )


def _listening(run: Path, port: int | None, url: str | None) -> AbstractContextManager[None]:
    if port is None:
        return nullcontext()
    from flows.annotate_service import PATIENCE, pull
    from flows.annotate_webhook import listening

    return listening(run, port, url, lambda: pull(str(run), PATIENCE[:1]))
