"""`pairsmith evaluate`: is the model better after training than it was before, and is it kept."""

from dataclasses import replace
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from flows.passport_tables import console_for_tables
from flows.progress import progress_bars
from pipeline.errors import GateRefused, InputError, RecipeError, RunError
from pipeline.evaluate.answers import AFTER, BEFORE, Showing, hidden
from pipeline.evaluate.report import HeldOut, evaluate, write_reports
from pipeline.evaluate.trained import Trained, check_trained, is_here
from pipeline.evaluate.words import cell_of, rows_of, table_of
from pipeline.evaluation import EvaluateSettings, evaluate_settings
from pipeline.recipe import load_recipe
from pipeline.runs import read_json
from pipeline.settings import Anything
from pipeline.sources import at_hand
from train.data import read_data
from train.rows import cluster_of
from train.settings import TrainRecipe, check_train_recipe, model_name, read_train_recipe
from train.watch import read_log


def evaluate_command(training: str, changes: list[str], html: str | None, identity: str | None, *, as_json: bool) -> None:
    """Evaluate a training, write what was found into its folder, and say it. GateRefused where it is rejected."""
    if identity:
        changes = [*changes, f"evaluate.identity={identity}"]
    errors = Console(stderr=True)
    trained, found = evaluate_training(training, changes, lambda run: progress_bars(errors, run), Path(html) if html else None)
    if as_json:
        print(orjson.dumps({**found, "folder": str(trained.folder)}).decode())
    else:
        print_evaluation(console_for_tables(), found, trained.folder)
    if found["decision"]["verdict"] == "reject":
        raise GateRefused(f"rejected: {'; '.join(found['decision']['reasons'])}")


def evaluate_training(training: str, changes: list[str], show: Showing = hidden, page: Path | None = None) -> tuple[Trained, Anything]:
    """The training and what was found, which is also written into its folder. Raises PairsmithError."""
    trained, settings, held = prepare(training, changes)
    found = evaluate(trained, settings, held, show)
    write_reports(trained, found, page)
    return trained, found


def prepare(training: str, changes: list[str]) -> tuple[Trained, EvaluateSettings, HeldOut]:
    """A finished training by its recipe or its folder, how it is evaluated, and the prompts it never saw. Raises PairsmithError."""
    recipe, folder, raw = read_training(training, changes)
    settings = evaluate_settings(raw.get("evaluate"))
    base = model_name(recipe.model.path)
    base = str(Path(base).absolute()) if Path(base).is_dir() else base
    log, best = read_log(folder / "log.jsonl"), (read_json(folder / "manifest.json") or {}).get("best_step")
    trained = replace(trained_by(recipe, folder), base=base, log=log, best_step=best)
    check_trained(trained, weights=is_here(settings.after))
    data = read_data(recipe)
    held = HeldOut([row["prompt"] for row in data.test], {cluster_of(row) for row in data.train}, data.split)
    return trained, settings, held


def trained_by(recipe: TrainRecipe, folder: Path) -> Trained:
    """What a recipe trains into a folder."""
    return Trained(folder, recipe.name, recipe.method, model_name(recipe.model.path), recipe.model.revision)


def read_training(training: str, changes: list[str] | None = None) -> tuple[TrainRecipe, Path, Anything]:
    """The recipe of a training, its output folder, and the recipe as it was asked; from the folder, or from the recipe's file."""
    given = at_hand(training)
    if given.is_dir():
        if not (given / "recipe.yaml").is_file():
            raise RunError(f"{training} is no training's folder: it holds no recipe.yaml; give the folder that `pairsmith train` named")
        raw = load_recipe(given / "recipe.yaml", changes or ())
        return check_train_recipe(raw), given.absolute(), raw
    if given.suffix not in (".yaml", ".yml"):
        raise InputError(f"found nothing at {training}; give a training recipe (a YAML file), or the output folder of a training")
    raw = load_recipe(given, changes or ())
    recipe = check_train_recipe(raw)
    if not recipe.folder.is_dir():
        raise RunError(f"no training in {recipe.folder}, where {training} puts it; run `pairsmith train {training}` first")
    return recipe, recipe.folder, raw


def check_improvable(recipe: str, changes: list[str]) -> TrainRecipe:
    """The training recipe. RecipeError for one whose result could be trained and never promoted, before anything is."""
    raw = read_train_recipe(recipe, changes)
    settings = evaluate_settings(raw.get("evaluate"))
    if settings.judge is None and settings.identity is None:
        raise RecipeError(
            f"{recipe} has no evaluate.judge and no evaluate.identity, so nothing would say whether the result is kept; add one of them, "
            "or only train it"
        )
    if not is_here(settings.after):
        raise RecipeError(f"{recipe}: evaluate.after names a model elsewhere, which is not what is trained here; take it out")
    return check_train_recipe(raw)


def print_evaluation(console: Console, found: Anything, folder: Path) -> None:
    """The headline, the table before and after, the sentences, and some answers side by side."""
    head, *rest = found["sentences"]
    console.print(f"\n{head}", style="bold", highlight=False, markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("metric")
    for side in (BEFORE, AFTER):
        table.add_column(side, justify="right")
    table.add_column("rows", justify="right")
    table.add_column("")
    for row in table_of(found):
        table.add_row(*(_plain(cell) for cell in (row["name"], cell_of(row[BEFORE]), cell_of(row[AFTER]), rows_of(row), row["note"])))
    console.print(table)
    for sentence in rest:
        console.print(f"- {sentence}", highlight=False, markup=False)
    for sample in found["samples"][:3]:
        console.print(f"\nprompt  {_short(sample['prompt'])}", highlight=False, markup=False)
        console.print(f"before  {_short(sample[BEFORE])}", highlight=False, markup=False)
        console.print(f"after   {_short(sample[AFTER])}  ({sample['outcome']})", highlight=False, markup=False)
    console.print(f"\nAll of it: {folder / 'evaluation.html'}", highlight=False, markup=False)
    if found["decision"]["verdict"] == "promote":
        # What was asked elsewhere may not be what lies here, so that this needs the user's word.
        sure = "" if found["weights"] else " --force   (if the model that evaluate.after names has these weights)"
        console.print(f"Keep it:   pairsmith promote {folder}{sure}", highlight=False, markup=False)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _short(text: str, most: int = 200) -> str:
    one = " ".join(text.split())
    return one if len(one) <= most else f"{one[:most]}…"
