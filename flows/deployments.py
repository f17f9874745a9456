"""`pairsmith serve`: a Prefect deployment of the build flow, on a schedule, run by this process for as long as it lives."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from flows.command import quiet_prefect
from flows.recipe import read_recipe, run_of
from flows.server import prefect_api
from pipeline.errors import RecipeError
from pipeline.recipe import check_recipe


def serve_command(recipe: str, changes: Sequence[str], folder: str | None, cron: str, timezone: str | None) -> None:
    """Serve until interrupted. A run that is late because the last one still works is skipped, not queued."""
    raw = read_recipe(recipe, list(changes))
    run = run_of(raw, folder)
    schedule = schedule_of(cron, timezone)
    with prefect_api(schedules=True), quiet_prefect(verbose=True):
        from flows.build import build_in_lanes

        checked = check_recipe(raw)
        Console(stderr=True).print(f"Serving {checked.name} at '{cron}' into {run.path}; Ctrl-C ends it", highlight=False, soft_wrap=True)
        build_in_lanes(raw).serve(
            name=checked.name,
            schedules=[schedule],
            parameters={"recipe": recipe, "changes": list(changes), "run": str(run.path)},
            pause_on_shutdown=False,
            print_starting_message=False,
            global_limit=1,
        )


def schedule_of(cron: str, timezone: str | None) -> Any:
    """The schedule that five cron fields say, in a time zone (UTC when left out). RecipeError where they say none."""
    from prefect.schedules import Cron
    from pydantic import ValidationError

    try:
        from prefect.client.schemas.schedules import CronSchedule

        CronSchedule(cron=cron, timezone=timezone or "UTC")
    except (ValidationError, ValueError) as error:
        what = str(error).splitlines()[-1]
        zone = timezone or "UTC"
        raise RecipeError(f"--cron '{cron}' ({zone}): wanted five fields such as \"0 3 * * *\" and a known time zone: {what}") from error
    return Cron(cron, timezone=timezone or "UTC")
