"""The end of a run on a terminal: counts, what was dropped and why, and where to go from here."""

import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.reasons import in_words
from pipeline.report import people_sentence, sample_pairs
from pipeline.runs import Run
from pipeline.settings import Anything

_STAGES = {
    "collect": "prompts that were read",
    "generate": "answers that were asked for",
    "compare": "two answers to one prompt that meet",
    "judge": "comparisons with a verdict",
    "pair": "chosen and rejected, by the strategy and the verdicts",
    "gate": "pairs that are good enough to publish",
}


def print_summary(console: Console, run: Run, summary: Anything, samples: int = 3, *, example: bool = False) -> None:
    """Print the summary of a finished run; after one of our own examples, how to get to one's own."""
    pairs, judge, usage = summary["pairs"], summary["judge"], summary["usage"]["total"]
    news = " (nothing new: the published dataset stays as it is)" if summary["unchanged"] else ""
    console.print(f"\n[bold]{summary['name']}[/]: {pairs['rows']} pairs, {_splits(pairs)}{news}", highlight=False)
    console.print(_stages(summary))
    if summary["dropped"]:
        console.print()
        console.print(_dropped(summary))
    console.print()
    if judge["verdicts"]:
        flips = (
            f", {judge['flipped']} of {judge['both_orders']} flipped with the order ({judge['flip_rate']:.1%})"
            if judge["both_orders"]
            else ""
        )
        console.print(
            f"Judge {judge['name']}: {judge['verdicts']} verdicts, {judge['invalid']} invalid, {judge['ties']} ties{flips}", highlight=False
        )
    if summary.get("people"):
        console.print(people_sentence(summary["people"]), highlight=False)
    longer = "-" if pairs["chosen_longer"] is None else f"{pairs['chosen_longer']:.0%}"
    console.print(f"Chosen is the longer answer in {longer} of the pairs", highlight=False)
    if usage["requests"] or usage["cached"]:
        tokens = usage["prompt_tokens"] + usage["completion_tokens"]
        money = f", ${usage['dollars']:.4f}" if usage["dollars"] else ""
        console.print(
            f"Asked {usage['requests']} requests ({usage['failed']} failed), {usage['cached']} from the cache; {tokens:,} tokens{money}",
            highlight=False,
        )
    print_samples(console, run, samples)
    print_next(console, run, pairs["rows"], example=example)


def print_samples(console: Console, run: Run, samples: int) -> None:
    for pair in sample_pairs(run, samples):
        console.print()
        for name, text in (("prompt", pair["prompt"][-1]["content"]), ("chosen", pair["chosen"]), ("rejected", pair["rejected"])):
            console.print(f"[bold]{name:>8}[/] ", end="")
            console.print(_short(text), markup=False, highlight=False)


def print_next(console: Console, run: Run, rows: int, *, example: bool) -> None:
    console.print()
    if rows:
        console.print(f"Dataset   {_near(run.dataset)}", highlight=False)
    console.print(f"Report    {_near(run.path / 'report.md')}, and the same for machines: summary.json", highlight=False)
    console.print(f"Left out  {_command()} inspect {_near(run.path)} --dropped all", highlight=False)
    if example:
        console.print("Your own  copy flows/recipes/strong-weak.yaml to my.yaml, name your prompts and models in it, then a preview:")
        console.print(f"          {_command()} build my.yaml --limit 5", highlight=False)


def _near(path: Path) -> Path:
    """A path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _command() -> str:
    """The command as one would type it here: it is not on everybody's PATH."""
    return "pairsmith" if shutil.which("pairsmith") else str(_near(Path(sys.argv[0]).absolute()))


def _splits(pairs: Anything) -> str:
    return ", ".join(f"{n} {name}" for name, n in pairs["by_split"].items()) or "none to publish"


def _stages(summary: Anything) -> Table:
    table = _table("stage", "in", "out", "")
    for stage in summary["stages"]:
        table.add_row(stage["stage"], str(stage["in"]), str(stage["out"]), _STAGES.get(stage["stage"], ""))
    return table


def _dropped(summary: Anything) -> Table:
    table = _table("left out at", "rows", "reason", "")
    for row in sorted(summary["dropped"], key=lambda row: [*_STAGES].index(row["stage"])):
        table.add_row(row["stage"], str(row["rows"]), row["reason"], in_words(row["reason"]))
    return table


def _table(*heads: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head, justify="right" if head in ("in", "out", "rows") else "left", no_wrap=bool(head))
    return table


def _short(text: str, limit: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[:limit]}…"
