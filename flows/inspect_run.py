"""`pairsmith inspect`: what a run made, and what it left out."""

from itertools import islice
from pathlib import Path

import orjson
from rich.console import Console

from flows.summary import print_summary
from pipeline.errors import RunError, choose_from
from pipeline.report import dropped_rows, prompt_texts
from pipeline.runs import Run, read_json
from pipeline.settings import Anything


def inspect_command(folder: str, reason: str | None, rows: int, *, as_json: bool) -> None:
    run = Run(Path(folder))
    run.recipe()
    if reason is not None:
        _list_dropped(run, None if reason == "all" else reason, rows, as_json=as_json)
        return
    summary = read_json(run.path / "summary.json")
    if summary is None:
        raise RunError(f"{run.path} holds an unfinished run; finish it with `pairsmith build`, the same command as before")
    if as_json:
        print(orjson.dumps({**summary, "run": str(run.path)}).decode())
        return
    console = Console(soft_wrap=True)
    print_summary(console, run, summary, samples=rows)


def _list_dropped(run: Run, reason: str | None, rows: int, *, as_json: bool) -> None:
    counts: dict[str, int] = {}
    for row in dropped_rows(run):
        counts[row["reason"]] = counts.get(row["reason"], 0) + 1
    if reason is not None and reason not in counts:
        raise RunError(f"nothing was dropped as '{reason}'; {choose_from(reason, counts)}")
    found = list(islice(dropped_rows(run, reason), None if as_json else max(rows, 20) if reason is None else None))
    texts = prompt_texts(run, {r["prompt_id"] for r in found if r["prompt_id"]})
    listed = [{**row, "prompt": texts.get(row["prompt_id"])} for row in found]
    if as_json:
        print(orjson.dumps({"run": str(run.path), "counts": counts, "rows": listed}).decode())
        return
    _print_dropped(Console(soft_wrap=True), counts, listed)


def _print_dropped(console: Console, counts: dict[str, int], listed: list[Anything]) -> None:
    console.print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())), highlight=False)
    for row in listed:
        prompt = " ".join((row["prompt"] or "").split())[:70]
        console.print(
            f"{row['stage']:<9}{row['reason']:<20}{row['prompt_id'] or row['id']:<22}{prompt}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if row["detail"]:
            console.print(f"{'':<9}{row['detail']}", markup=False, highlight=False)
