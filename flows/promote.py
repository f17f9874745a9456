"""`pairsmith promote`: an evaluated model becomes the current one; or the one before comes back."""

from pathlib import Path

import orjson
from rich.console import Console

from flows.evaluate import read_training, trained_by
from pipeline.errors import RecipeError, RunError
from pipeline.evaluate.releases import HOME, Release, Releases
from pipeline.evaluate.report import read_evaluation
from pipeline.evaluate.serving import serve_adapter
from pipeline.evaluate.trained import Trained, check_trained
from pipeline.evaluation import PromoteSettings, evaluate_settings
from pipeline.fingerprint import folder_fingerprint
from pipeline.settings import Anything, label_of
from train.settings import TrainRecipe


def promote_command(
    training: str | None,
    models: str | None,
    server: str | None,
    served_as: str | None,
    *,
    rollback: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Promote a training, or roll back. Raises PairsmithError; then `current` is what it was."""
    if (training is None) != rollback:
        raise RecipeError("give either the output folder of a training, or --rollback")
    releases = Releases(Path(models) if models else HOME)
    if training is None:
        with releases.locked():
            release, news = _roll_back(releases, server, served_as or PromoteSettings().served_as), "rolled back"
    else:
        release, news = promote_training(releases, training, server, served_as, force=force)
    _say(releases, release, news, as_json=as_json)


def promote_training(
    releases: Releases, training: str, server: str | None = None, served_as: str | None = None, *, force: bool = False
) -> tuple[Release, str]:
    """The release that a training's result is now, and whether it was before, in words. Raises PairsmithError."""
    with releases.locked():
        recipe, folder, raw = read_training(training)
        settings = evaluate_settings(raw.get("evaluate")).promote
        release, new = _promote(releases, recipe, folder, server or settings.server, served_as or settings.served_as, force=force)
    return release, "promoted" if new else "is current already"


def _promote(releases: Releases, recipe: TrainRecipe, folder: Path, server: str | None, name: str, *, force: bool) -> tuple[Release, bool]:
    """The release, and whether it is a new one."""
    trained = trained_by(recipe, folder)
    check_trained(trained)
    decision = "forced" if force else _decision(trained)
    if server and trained.adapter is None:
        raise RecipeError(
            f"{folder} holds a whole model, and a running server takes adapters only; promote it without --server, and start the server "
            f"again with {releases.home / 'current'}"
        )
    about = {"name": recipe.name, "base": label_of(trained.base), "kind": "adapter" if trained.adapter else "model", "decision": decision}
    current = releases.current()
    if current and current.about["weights"] == folder_fingerprint(trained.result):
        _serve(server, name, current)
        return current, False
    release = releases.stage(trained.result, about)
    try:
        # The server first: it is what may refuse, and the link cannot.
        _serve(server, name, release)
    except BaseException:
        releases.drop(release)
        raise
    releases.switch(release, "promote")
    return release, True


def _roll_back(releases: Releases, server: str | None, name: str) -> Release:
    current = releases.current()
    before = releases.before(current) if current else None
    if current is None or before is None:
        found = f"release {current.number} is the first" if current else "nothing was promoted"
        raise RunError(f"there is nothing to roll back to in {releases.home}: {found}")
    if server and before.about["kind"] != "adapter":
        raise RecipeError(f"release {before.number} is a whole model, and a running server takes adapters only; roll back without --server")
    _serve(server, name, before)
    releases.switch(before, "rollback")
    return before


def _decision(trained: Trained) -> str:
    """What the evaluation decided. RunError unless it says `promote`, of these very weights."""
    found = read_evaluation(trained.folder)
    if found is None:
        raise RunError(f"{trained.folder} was not evaluated; run `pairsmith evaluate {trained.folder}` first, or promote it with --force")
    decision = found["decision"]
    if decision["verdict"] != "promote":
        why = "; ".join(decision["reasons"])
        raise RunError(f"the evaluation rejected {trained.name} ({why}); train a better one, or promote this one with --force")
    if found["weights"] is None:
        raise RunError(
            f"{trained.name} was evaluated by the answers of a model elsewhere (evaluate.after), which says nothing sure of the weights in "
            f"{trained.folder}; evaluate these, without evaluate.after, or promote them with --force"
        )
    if found["weights"] != folder_fingerprint(trained.result):
        raise RunError(f"{trained.folder} holds other weights than were evaluated; run `pairsmith evaluate {trained.folder}` again")
    return "promote"


def _serve(server: str | None, name: str, release: Release) -> None:
    if server:
        serve_adapter(server, name, release.path)


def _say(releases: Releases, release: Release, news: str, *, as_json: bool) -> None:
    before = releases.before(release)
    if as_json:
        said: Anything = {**release.about, "news": news, "current": str(releases.home / "current"), "path": str(release.path)}
        print(orjson.dumps(said).decode())
        return
    console = Console(soft_wrap=True)
    console.print(f"{release.about['name']} {news}: release {release.number} of {release.about['base']}", highlight=False, markup=False)
    console.print(f"Load it from  {releases.home / 'current'}", highlight=False, markup=False)
    if before is not None:
        console.print(
            f"Go back with  pairsmith promote --rollback  (to release {before.number}, {before.about['name']})",
            highlight=False,
            markup=False,
        )
