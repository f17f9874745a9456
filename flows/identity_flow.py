"""The identity flow: what `pairsmith identity` does, for schedules and work pools, with the summary as artifacts."""

import asyncio

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.identity import folder_of, read_identity, slug, summary_lines
from pipeline.identity.making import make
from pipeline.settings import Anything


@flow(name="identity", persist_result=False)
def identity(recipe: str, changes: list[str] | None = None, out: str | None = None) -> Anything:
    """Make the dataset an identity recipe asks for, with `a.b=c` changes, in a folder; the summary. What was asked before is not again."""
    raw = read_identity(recipe, changes or [], {"out": out})
    summary = asyncio.run(make(raw, folder_of(raw)))
    _show(summary)
    asked = summary["usage"]["total"]["requests"]
    get_run_logger().info("%s: %d pairs; %d requests asked", summary["name"], summary["pairs"]["rows"], asked)
    return summary


def _show(summary: Anything) -> None:
    name = f"identity-{slug(summary['identity']['name'], summary['identity']['maker'])}"
    lines = "\n".join(f"- {words}: {value}" for words, value in summary_lines(summary))
    create_markdown_artifact(key=f"{name}-summary", markdown=f"# {summary['name']}\n\n{lines}\n")
    create_table_artifact(key=f"{name}-stages", table=[{**s, "dropped": s["in"] - s["out"]} for s in summary["stages"]])
