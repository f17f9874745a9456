"""The improve flow: train on what a dataset holds now, evaluate, and promote where the evaluation says so. Flows of their own, too.

    train -> evaluate -> promote?        with artifacts: the metrics and plots, the table before and after, the decision

A night on which the dataset did not change trains nothing and promotes nothing: each step finds that it is done.
"""

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.concurrency.sync import concurrency

from flows.evaluate import check_improvable, evaluate_training
from flows.promote import promote_training
from flows.train import LIMIT, make_limit
from flows.train import train as train_flow
from pipeline.evaluate.answers import AFTER, BEFORE
from pipeline.evaluate.releases import HOME, Releases
from pipeline.evaluate.words import cell_of, markdown, rows_of, table_of
from pipeline.settings import Anything
from train.data import read_data


@flow(name="evaluate", persist_result=False)
def evaluate(training: str, changes: list[str] | None = None) -> Anything:
    """Evaluate a training by its recipe or folder; what was found, which its folder holds as well. A rejection is a result, no failure."""
    make_limit()
    with concurrency(LIMIT, occupy=1):
        trained, found = evaluate_training(training, changes or [])
    name = artifact_name(trained.name)
    rows = [
        {"metric": row["name"], BEFORE: cell_of(row[BEFORE]), AFTER: cell_of(row[AFTER]), "rows": rows_of(row), "note": row["note"]}
        for row in table_of(found)
    ]
    create_table_artifact(key=f"{name}-evaluation", table=rows, description=found["sentences"][0])
    create_markdown_artifact(key=f"{name}-decision", markdown=markdown(found))
    get_run_logger().info("%s", found["sentences"][0])
    return {**found, "folder": str(trained.folder)}


@flow(name="promote", persist_result=False)
def promote(training: str, models: str | None = None) -> Anything:
    """Make an evaluated training the current model, in `models` (data/models when left out); the release."""
    releases = Releases(Path(models) if models else HOME)
    release, news = promote_training(releases, training)
    get_run_logger().info("%s %s: release %d", release.about["name"], news, release.number)
    return {**release.about, "news": news, "path": str(release.path)}


@flow(name="improve", persist_result=False)
def improve(recipe: str, changes: list[str] | None = None, models: str | None = None) -> Anything:
    """Train, evaluate, and promote what is better; what each step said, `promoted` None where it was rejected."""
    changes = changes or []
    checked = check_improvable(recipe, changes)
    # Each version of the data has a training of its own, beside the recipe's folder.
    trained = train_flow(recipe, [*changes, f"output.folder={checked.folder}-{read_data(checked).digest[:12]}"])
    found = evaluate(trained["folder"])
    better = found["decision"]["verdict"] == "promote"
    return {"trained": trained, "evaluated": found, "promoted": promote(trained["folder"], models) if better else None}


def artifact_name(name: str) -> str:
    """A name as Prefect takes it for an artifact: small letters, digits, dashes."""
    return "".join(c if c.isalnum() else "-" for c in name.lower())
