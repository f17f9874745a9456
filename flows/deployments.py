"""`pairsmith serve`: a Prefect deployment of a recipe's flow, on a schedule, run by this process for as long as it lives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from flows.command import quiet_prefect
from flows.recipe import kind_of, read_recipe, run_of
from flows.server import prefect_api
from pipeline.errors import RecipeError
from pipeline.recipe import check_recipe, load_recipe
from pipeline.settings import Anything
from pipeline.sources import at_hand


@dataclass(frozen=True, slots=True)
class Deployment:
    """A flow with its parameters. `flow` makes it, since Prefect is imported only once its server is known."""

    name: str
    folder: str
    flow: Callable[[], Any]
    parameters: Anything


def serve_command(recipe: str, changes: Sequence[str], folder: str | None, cron: str, timezone: str | None) -> None:
    """Serve until interrupted. A run that is late because the last one still works is skipped, not queued."""
    served = deployment_of(recipe, list(changes), folder)
    schedule = schedule_of(cron, timezone)
    with prefect_api(schedules=True), quiet_prefect(verbose=True):
        served_flow = served.flow()
        Console(stderr=True).print(
            f"Serving {served.name} at '{cron}' into {served.folder}; Ctrl-C ends it", highlight=False, markup=False, soft_wrap=True
        )
        served_flow.serve(
            name=served.name,
            schedules=[schedule],
            parameters=served.parameters,
            pause_on_shutdown=False,
            print_starting_message=False,
            global_limit=1,
        )


def deployment_of(recipe: str, changes: list[str], folder: str | None) -> Deployment:
    """The flow that a recipe is for. RecipeError where it is wrong."""
    kind = kind_of(load_recipe(at_hand(recipe), changes))
    if kind == "identity":
        return _identity(recipe, changes, folder)
    if kind == "training":
        return _training(recipe, changes, folder)
    raw = read_recipe(recipe, changes)
    run = run_of(raw, folder)

    def build() -> Any:
        from flows.build import build_in_lanes

        return build_in_lanes(raw)

    return Deployment(check_recipe(raw).name, str(run.path), build, {"recipe": recipe, "changes": changes, "run": str(run.path)})


def _identity(recipe: str, changes: list[str], folder: str | None) -> Deployment:
    from flows.identity import folder_of, read_identity

    place = folder_of(read_identity(recipe, changes, {"out": folder}))

    def identity() -> Any:
        from flows.identity_flow import identity

        return identity

    return Deployment(place.name, str(place), identity, {"recipe": recipe, "changes": changes, "out": str(place)})


def _training(recipe: str, changes: list[str], folder: str | None) -> Deployment:
    from flows.evaluate import check_improvable

    checked = check_improvable(recipe, changes)
    if folder is not None:
        raise RecipeError("--run is for datasets; say where a training goes with --set output.folder=…")

    def improve() -> Any:
        from flows.improve import improve

        return improve

    return Deployment(checked.name, f"{checked.folder}-*", improve, {"recipe": recipe, "changes": changes})


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
