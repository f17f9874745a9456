"""`pairsmith serve`: a Prefect deployment of the build flow, on a schedule, run by this process for as long as it lives."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from flows.command import quiet_prefect
from flows.recipe import read_recipe, run_of
from flows.server import prefect_api
from pipeline.errors import RecipeError
from pipeline.settings import check_recipe


def serve_command(recipe: str, changes: Sequence[str], folder: str | None, cron: str, timezone: str | None, *, verbose: bool) -> None:
    """Serve until interrupted. A run that is late because the last one still works is skipped, not queued."""
    raw = read_recipe(recipe, list(changes))
    run = run_of(raw, folder)
    with prefect_api(schedules=True), quiet_prefect(verbose):
        from prefect.task_runners import ThreadPoolTaskRunner

        from flows.build import build

        schedule = _schedule(cron, timezone)
        checked = check_recipe(raw)
        Console(stderr=True).print(f"Serving {checked.name} at '{cron}' into {run.path}; Ctrl-C ends it", highlight=False, soft_wrap=True)
        build.with_options(task_runner=ThreadPoolTaskRunner(max_workers=checked.run.lanes)).serve(
            name=checked.name,
            schedules=[schedule],
            parameters={"recipe": recipe, "changes": list(changes), "run": str(run.path)},
            pause_on_shutdown=False,
            print_starting_message=False,
            global_limit=1,
        )


def _schedule(cron: str, timezone: str | None) -> Any:
    from prefect.schedules import Cron
    from pydantic import ValidationError

    try:
        from prefect.client.schemas.schedules import CronSchedule

        CronSchedule(cron=cron, timezone=timezone or "UTC")
    except (ValidationError, ValueError) as error:
        raise RecipeError(f"--cron '{cron}' (timezone {timezone or 'UTC'}): wanted five fields, such as \"0 3 * * *\", and a known timezone: {str(error).splitlines()[-1]}") from error
    return Cron(cron, timezone=timezone or "UTC")
