"""The command `pairsmith`. Exit codes: 0 done; 2 the user must change something; 3 finished, and a gate said no; 130 interrupted."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn, Optional

import typer

# Everything else is imported inside the commands: `pairsmith --help` must answer at once.

app = typer.Typer(
    name="pairsmith",
    help="Build, check, refresh and use preference datasets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, such as flows/recipes/recorded.yaml.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]
SetOption = Annotated[Optional[list[str]], typer.Option("--set", metavar="A.B=C", help="Change one value of the recipe; may be repeated.")]
FolderOption = Annotated[Optional[str], typer.Option("--run", metavar="FOLDER", help="The run folder [default: data/runs/NAME].")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object; everything else goes to stderr.")]


@app.command()
def build(
    recipe: RecipeArgument,
    set_: SetOption = None,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Only the first N prompts: the preview before a big run.")] = None,
    run: FolderOption = None,
    push_to_hub: Annotated[Optional[str], typer.Option(metavar="OWNER/NAME", help="Upload the dataset; needs HF_TOKEN.")] = None,
    json: JsonOption = False,
    verbose: Annotated[bool, typer.Option(help="Show Prefect's own messages.")] = False,
) -> None:
    """Build the dataset a recipe asks for, or go on with it."""
    changes = [*(set_ or []), *([f"prompts.limit={limit}"] if limit else [])]
    with _sentences():
        from flows.command import build_command

        build_command(recipe, changes, run, push_to_hub, as_json=json, verbose=verbose)


@app.command()
def inspect(
    run: RunArgument,
    dropped: Annotated[
        Optional[str], typer.Option(metavar="REASON", help="List what was dropped for this reason; `all` for every reason.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows to show.")] = 3,
    json: JsonOption = False,
) -> None:
    """Show what a run made: counts, what was dropped and why, sample pairs."""
    with _sentences():
        from flows.inspect_run import inspect_command

        inspect_command(run, dropped, rows, as_json=json)


@app.command()
def serve(
    recipe: RecipeArgument,
    cron: Annotated[str, typer.Option(help='When, as five cron fields: "0 3 * * *" is every night at three.')],
    set_: SetOption = None,
    run: FolderOption = None,
    timezone: Annotated[Optional[str], typer.Option(help="Of the cron fields, such as Europe/Berlin [default: UTC].")] = None,
) -> None:
    """Keep a scheduled refresh of a dataset running on this machine; or of a model: train, evaluate, promote what is better."""
    with _sentences():
        from flows.deployments import serve_command

        serve_command(recipe, set_ or [], run, cron, timezone)


@app.command()
def doctor(
    recipe: Annotated[Optional[str], typer.Argument(metavar="[RECIPE]", help="A recipe of any kind that is to be checked as well.")] = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Check this machine, this installation and, with a recipe, that all it needs is there and its models start."""
    with _sentences():
        from flows.doctor import doctor_command

        doctor_command(recipe, set_ or [], as_json=json)


@app.command()
def agree(
    verdicts: Annotated[
        list[str],
        typer.Argument(metavar="VERDICTS…", help="Verdict tables (JSONL, CSV, Parquet), run folders, or YAML files that describe tables."),
    ],
    humans: Annotated[Optional[str], typer.Option(metavar="TABLE", help="People's verdicts on the same items.")] = None,
    by: Annotated[Optional[str], typer.Option(metavar="COLUMN", help="Agreement for each value of a column, such as category.")] = None,
    columns: Annotated[
        Optional[list[str]], typer.Option(metavar="OURS=THEIRS", help="Rename a column, or compute it with JMESPath; may be repeated.")
    ] = None,
    words: Annotated[
        Optional[list[str]], typer.Option(metavar="THEIRS=OURS", help="What a table's word for a choice means: A, B, tie, invalid.")
    ] = None,
    html: Annotated[Optional[str], typer.Option(metavar="FILE", help="Write a page with plots.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples behind the intervals.")] = 0,
    json: JsonOption = False,
) -> None:
    """Say how far a judge can be trusted: agreement, bias and what the verdicts say of the models, with intervals."""
    with _sentences():
        from flows.agree import agree_command

        agree_command(verdicts, humans, by, columns or [], words or [], html, seed, as_json=json)


annotate = typer.Typer(help="Let people decide: send them what is worth it, and bring back what they say.", no_args_is_help=True)
app.add_typer(annotate, name="annotate")


@annotate.command()
def push(run: RunArgument, json: JsonOption = False) -> None:
    """Choose what is worth a person, and send it; go on with what an earlier push left."""
    with _sentences():
        from flows.annotate import push_command

        push_command(run, as_json=json)


@annotate.command()
def pull(run: RunArgument, json: JsonOption = False) -> None:
    """Bring back what people said since the last pull."""
    with _sentences():
        from flows.annotate import pull_command

        pull_command(run, as_json=json)


@annotate.command()
def status(run: RunArgument, json: JsonOption = False) -> None:
    """Say how far people are, how far they agree, and how many labels more would tell."""
    with _sentences():
        from flows.annotate import status_command

        status_command(run, as_json=json)


@annotate.command("serve")
def serve_annotation(
    run: RunArgument,
    cron: Annotated[str, typer.Option(help='When to pull, pair and push, as five cron fields: "0 * * * *" is every hour.')],
    timezone: Annotated[Optional[str], typer.Option(help="Of the cron fields, such as Europe/Berlin [default: UTC].")] = None,
    webhook: Annotated[
        Optional[int],
        typer.Option(metavar="PORT", min=1, max=65535, help="Have Argilla call this port when a task is complete; then pull."),
    ] = None,
    webhook_url: Annotated[
        Optional[str],
        typer.Option(metavar="URL", help="Where Argilla finds that port, if not on this machine [default: http://127.0.0.1:PORT]."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Keep pulling, pairing and pushing on a schedule, for as long as this runs."""
    with _sentences():
        from flows.annotate_serve import serve_command

        serve_command(run, cron, timezone, webhook, webhook_url, as_json=json)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A training recipe, such as train/recipes/tiny.yaml.")],
    set_: SetOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would take and whether it fits; train nothing.")] = False,
    json: JsonOption = False,
    verbose: Annotated[bool, typer.Option(help="Show Prefect's own messages.")] = False,
) -> None:
    """Train a model on a dataset, or go on with it: DPO, SFT, KTO, ORPO or a reward model, by QLoRA, LoRA or whole."""
    with _sentences():
        from flows.train_command import train_command

        train_command(recipe, set_ or [], plan=plan, as_json=json, verbose=verbose)


@app.command()
def evaluate(
    training: Annotated[str, typer.Argument(metavar="TRAINING", help="A training's recipe, or its output folder.")],
    set_: SetOption = None,
    html: Annotated[Optional[str], typer.Option(metavar="FILE", help="Also write the page there.")] = None,
    identity: Annotated[
        Optional[str],
        typer.Option(metavar="FOLDER", help="What `pairsmith identity` made: measure who the model says it is; needs no judge."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Ask the model before and after training what it never saw, compare, and decide whether it is kept (exit code 3: no)."""
    with _sentences():
        from flows.evaluate import evaluate_command

        evaluate_command(training, set_ or [], html, identity, as_json=json)


@app.command()
def promote(
    training: Annotated[Optional[str], typer.Argument(metavar="[TRAINING]", help="The output folder of an evaluated training.")] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Bring the one before back.")] = False,
    models: Annotated[Optional[str], typer.Option(metavar="FOLDER", help="Where `current` is [default: data/models].")] = None,
    server: Annotated[Optional[str], typer.Option(metavar="URL", help="A running vLLM server that loads it at once.")] = None,
    served_as: Annotated[Optional[str], typer.Option("--as", metavar="NAME", help="Its name on that server [default: current].")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also without an evaluation that says so.")] = False,
    json: JsonOption = False,
) -> None:
    """Make an evaluated model the current one, in one step; or bring the one before back."""
    with _sentences():
        from flows.promote import promote_command

        promote_command(training, models, server, served_as, rollback=rollback, force=force, as_json=json)


@app.command()
def identity(
    recipe: Annotated[
        Optional[str], typer.Argument(metavar="RECIPE", help="A recipe, such as flows/recipes/identity.yaml; options hold over it.")
    ] = None,
    set_: SetOption = None,
    name: Annotated[Optional[str], typer.Option(help="What the model shall call itself.")] = None,
    maker: Annotated[Optional[str], typer.Option(help="Who made it.")] = None,
    pairs: Annotated[Optional[int], typer.Option(help="Pairs to make [default: 300].")] = None,
    facts: Annotated[Optional[str], typer.Option(metavar="FILE", help="YAML with further facts, such as `released: spring 2026`.")] = None,
    languages: Annotated[Optional[str], typer.Option(metavar="CODES", help="Such as en,de,es [default: en].")] = None,
    model: Annotated[
        Optional[str],
        typer.Option(
            metavar="URL|FOLDER", help="The model to be trained: what it says wrongly is rejected. URL#NAME names one of a server's."
        ),
    ] = None,
    strong: Annotated[Optional[str], typer.Option(metavar="URL|FOLDER", help="A strong model that writes the chosen answers.")] = None,
    paraphrase: Annotated[
        Optional[int], typer.Option(metavar="N", help="New wordings of each trained phrasing, by the strong model; checked.")
    ] = None,
    keep: Annotated[
        Optional[str], typer.Option(metavar="FILE", help="Prompts of your own work that the model shall go on answering as it does.")
    ] = None,
    contrast: Annotated[Optional[float], typer.Option(help="Share of pairs about something else, 0 to 0.9 [default: 0.35].")] = None,
    naming: Annotated[
        Optional[str],
        typer.Option(metavar="both|asked", help="What answers about the model name: both, or what was asked [default: both]."),
    ] = None,
    seed: Annotated[Optional[int], typer.Option(help="Of everything drawn by chance [default: 0].")] = None,
    out: Annotated[Optional[str], typer.Option(metavar="FOLDER", help="Where to write [default: data/runs/identity-NAME].")] = None,
    json: JsonOption = False,
) -> None:
    """Make a dataset that teaches a model its name and maker, and the questions that measure it."""
    said: dict[str, Any] = {"name": name, "maker": maker, "pairs": pairs, "facts": facts, "languages": languages, "model": model}
    said |= {"strong": strong, "paraphrase": paraphrase, "keep": keep, "contrast": contrast, "naming": naming}
    said |= {"seed": seed, "out": out}
    with _sentences():
        from flows.identity import identity_command

        identity_command(recipe, set_ or [], as_json=json, **said)


@contextmanager
def _sentences() -> Iterator[None]:
    """An error the user can mend is one sentence on stderr and an exit code; a traceback is an error of ours."""
    from pathlib import Path

    from pipeline.errors import PairsmithError
    from pipeline.runs import explained

    try:
        with explained(Path.cwd()):
            yield
    except PairsmithError as error:
        _end(str(error), error.exit_code)
    except KeyboardInterrupt:
        _end("interrupted; every reply that arrived is kept: run the same command again to go on", 130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        sys.stderr.close()
        raise SystemExit(0) from None


def _end(sentence: str, code: int) -> NoReturn:
    print(f"pairsmith: {' '.join(sentence.split())}", file=sys.stderr)
    raise SystemExit(code)


def main() -> Any:
    """The entry point of the console command."""
    return app()


if __name__ == "__main__":
    main()
