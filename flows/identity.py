"""`pairsmith identity`: a dataset that teaches a model its name and maker, and the questions that measure it."""

import asyncio
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape

from pipeline import ROOT
from pipeline.errors import EngineError, RecipeError
from pipeline.identity.keeping import KEPT
from pipeline.identity.making import make
from pipeline.identity.recipe import SIDES, check_identity
from pipeline.recipe import load_recipe
from pipeline.records import content_id
from pipeline.settings import Anything
from pipeline.sources import at_hand

SAMPLES = {"strong": 1, "model": 4}
"""Answers to each question: one right answer will do; what the model to be trained says varies."""


def identity_command(
    recipe: str | None = None, changes: Sequence[str] = (), *, as_json: bool, cache: Path | None = None, **options: Any
) -> None:
    """`options` are keys of the recipe, None where not given; they hold over what the recipe says."""
    raw = read_identity(recipe, changes, {**options, "cache": str(cache) if cache else None})
    summary = asyncio.run(make(raw, folder_of(raw)))
    if as_json:
        sys.stdout.write(orjson.dumps(summary).decode() + "\n")
    else:
        _print(Console(soft_wrap=True, highlight=False), summary)


def read_identity(recipe: str | None, changes: Sequence[str], options: Anything) -> Anything:
    """The merged recipe as it was asked, after everything in it was checked. Without a recipe the options are one."""
    given = {key: value for key, value in options.items() if value is not None}
    if recipe is None and changes:
        raise RecipeError(f"--set {changes[0]}: there is no recipe to change; name one, such as flows/recipes/identity.yaml")
    if recipe is None and (lacks := [key for key in ("name", "maker") if key not in given]):
        raise RecipeError(
            f'--{lacks[0]} is missing; give --name Aria --maker "Northwind Labs", or a recipe such as flows/recipes/identity.yaml'
        )
    raw: Anything = load_recipe(at_hand(recipe), changes) if recipe else {}
    if isinstance(languages := given.get("languages"), str):
        given["languages"] = [code.strip() for code in languages.split(",") if code.strip()]
    if isinstance(table := given.get("keep"), str):
        given["keep"] = {"path": table}
    raw |= {key: engine_of(key, value) if key in SIDES and isinstance(value, str) else value for key, value in given.items()}
    check_identity(raw)
    return raw


def folder_of(raw: Anything) -> Path:
    """Where the dataset goes: the folder that is given, or data/runs/identity-NAME."""
    recipe = check_identity(raw)
    return Path(recipe.out).expanduser().absolute() if recipe.out else ROOT / "data" / "runs" / f"identity-{slug(*recipe.true().own)}"


def slug(name: str, maker: str) -> str:
    """The name in letters that every file system takes, and a few of a hash, since two names may have the same."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return f"{re.sub(r'[^a-z0-9]+', '-', plain).strip('-')[:40]}-{content_id(name, maker)[:6]}".strip("-")


def engine_of(side: str, place: str) -> Anything:
    """Settings for a model that is named by an address (of an OpenAI-compatible server, `#model` behind it) or by a folder."""
    sampling = {"temperature": 0.7, "max_tokens": 256}
    if re.match(r"https?://", place):
        url, _, called = place.partition("#")
        return {"engine": "openai", "url": url, "model": called or _served(side, url), "samples": SAMPLES[side], "sampling": sampling}
    if not Path(place).expanduser().is_dir():
        raise RecipeError(
            f"--{side} {place}: no such folder; give a folder with a model, or an address such as http://localhost:8000/v1#model-name"
        )
    local = {"engine": "transformers", "model": str(Path(place).expanduser()), "batch_size": 32}
    return {**local, "samples": SAMPLES[side], "sampling": sampling}


def _served(side: str, url: str) -> str:
    """The one model that a server has. RecipeError where there are several, EngineError where nothing answers."""
    import httpx

    try:
        listed = [str(m["id"]) for m in httpx.get(f"{url.rstrip('/')}/models", timeout=15).json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"--{side}: {url} gives no list of its models ({type(error).__name__}); start the server, or name the model: {url}#model-name"
        ) from error
    if len(listed) != 1:
        raise RecipeError(
            f"--{side}: {url} serves {len(listed)} models ({', '.join(listed[:8])}); name one: {url}#{(listed or ['name'])[0]}"
        )
    return listed[0]


def summary_lines(summary: Anything) -> Iterator[tuple[str, str]]:
    """What a person wants to know of a summary: what it is about, and what was found."""
    pairs, balance, judge = summary["pairs"], summary["balance"], summary["judge"]
    yield "Pairs", f"{pairs['rows']} ({', '.join(f'{name} {n}' for name, n in pairs['by_split'].items()) or 'none'})"
    for words, key in (
        ("Languages", "languages"),
        ("Questions", "kinds"),
        ("Chosen from", "chosen_from"),
        ("Rejected from", "rejected_from"),
    ):
        yield words, _counted(summary[key])
    if judge["verdicts"]:
        yield "Chosen by", f"{judge['name']}: {judge['verdicts']} verdicts, {judge['ties']} ties, {judge['invalid']} invalid"
    if (words := summary["paraphrases"]) is not None:
        yield "Paraphrases", _worded(words, summary["questions_from"]["strong"])
    if kept := next((stage for stage in summary["stages"] if stage["stage"] == "keep"), None):
        yield "Kept", f"{summary['families'].get(KEPT, 0)} pairs from {kept['out']} prompts of your own work"
    if pairs["rows"]:
        yield "Length", f"chosen longer in {balance['chosen_longer']:.0%}, by {balance['mean_difference']:+.2f} characters in the mean"
    if left := [d for d in summary["dropped"] if d["stage"] != "paraphrase"]:
        yield "Dropped", ", ".join(f"{d['reason']} {d['rows']}" for d in left)
    if summary["failed"]:
        yield "Not answered", f"{_counted(summary['failed'])}; run it again to ask again"
    held = sum(summary["evaluation"].values())
    yield "Evaluation", f"{held} questions, those for the end in no pair, in {summary['folder']}/evaluation"
    yield "Dataset", f"{summary['folder']}/dataset"


def _print(console: Console, summary: Anything) -> None:
    identity = summary["identity"]
    console.print(f"{escape(identity['name'])}, made by {escape(identity['maker'])}")
    for words, value in summary_lines(summary):
        console.print(f"{words:<14}{escape(value)}")


def _worded(words: Anything, pairs: int) -> str:
    """What came of the wordings that the strong model was asked for."""
    reasons = _counted({**words["dropped"], **words["failed"]})
    if not words["offered"]:
        return f"none: of {words['phrasings']} phrasings no reply was a list of wordings ({reasons})"
    return f"{words['kept']} of {words['offered']} kept, in {pairs} pairs (the others: {reasons})"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items()) or "none"
