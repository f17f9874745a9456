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
    """Keep a scheduled refresh of a dataset running on this machine."""
    with _sentences():
        from flows.deployments import serve_command

        serve_command(recipe, set_ or [], run, cron, timezone)


@app.command()
def doctor(
    recipe: Annotated[Optional[str], typer.Argument(metavar="[RECIPE]", help="A recipe whose models are to be tried as well.")] = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Check this machine, this installation and, with a recipe, that its models answer."""
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
