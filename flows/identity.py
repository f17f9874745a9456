"""`pairsmith identity`: a dataset that teaches a model its name and maker, and the questions that measure it."""

import asyncio
import re
import sys
import unicodedata
from pathlib import Path

import orjson
from rich.console import Console
from rich.markup import escape

from pipeline import ROOT
from pipeline.budget import Budget
from pipeline.cache import ReplyCache
from pipeline.errors import EngineError, RecipeError
from pipeline.identity.asking import Asked, ask
from pipeline.identity.build import Material, Plan, build
from pipeline.identity.dataset import write
from pipeline.identity.facts import Facts, facts_of
from pipeline.model import Model
from pipeline.records import content_id
from pipeline.report import usage_of
from pipeline.settings import Anything, ModelSettings, label_of, plugin_settings

SAMPLES = {"strong": 1, "model": 4}
"""Answers to each question: one right answer will do; what the model to be trained says varies."""


def identity_command(
    name: str,
    maker: str,
    pairs: int,
    facts: str | None,
    languages: str,
    model: str | None,
    strong: str | None,
    contrast: float,
    seed: int,
    out: str | None,
    *,
    as_json: bool,
    cache: Path | None = None,
) -> None:
    true = facts_of(name, maker, Path(facts).expanduser() if facts else None)
    plan = Plan(pairs, tuple(code.strip() for code in languages.split(",") if code.strip()), contrast, seed)
    folder = Path(out).expanduser().absolute() if out else ROOT / "data" / "runs" / f"identity-{slug(true)}"
    places = {side: place for side, place in (("strong", strong), ("model", model)) if place}
    material = Material(true, plan)
    material.check()
    asked, usage, labels = asyncio.run(_ask(material, places, cache)) if places else (Asked(), usage_of(Budget()), {})
    built = build(material, asked.replies)
    summary = {**write(folder, true, plan, built, labels, usage), "failed": asked.failed, "folder": str(folder)}
    if as_json:
        sys.stdout.write(orjson.dumps(summary).decode() + "\n")
    else:
        _print(Console(soft_wrap=True, highlight=False), summary)


def slug(facts: Facts) -> str:
    """The name in letters that every file system takes, and a few of a hash, since two names may have the same."""
    plain = unicodedata.normalize("NFKD", facts.name).encode("ascii", "ignore").decode().lower()
    return f"{re.sub(r'[^a-z0-9]+', '-', plain).strip('-')[:40]}-{content_id(*facts.own)[:6]}".strip("-")


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


async def _ask(material: Material, places: dict[str, str], cache: Path | None) -> tuple[Asked, Anything, dict[str, str]]:
    settings = {s: plugin_settings("engines", engine_of(s, p), "engine", f"--{s}", ModelSettings) for s, p in places.items()}
    budget = Budget()
    with ReplyCache(cache or ROOT / "data" / "cache" / "replies.sqlite") as replies:
        models = {side: Model(side, given, replies, budget) for side, given in settings.items()}
        asked = await ask(material.first(), material.facts, models.get("strong"), models.get("model"))
    return asked, usage_of(budget), {side: label_of(given.model) for side, given in settings.items()}


def _print(console: Console, summary: Anything) -> None:
    pairs, identity, balance = summary["pairs"], summary["identity"], summary["balance"]
    split = ", ".join(f"{name} {n}" for name, n in pairs["by_split"].items())
    console.print(f"{escape(identity['name'])}, made by {escape(identity['maker'])}: {pairs['rows']} pairs ({split})")
    for words, key in (
        ("Languages", "languages"),
        ("Questions", "kinds"),
        ("Chosen from", "chosen_from"),
        ("Rejected from", "rejected_from"),
    ):
        console.print(f"{words:<14}{', '.join(f'{name} {n}' for name, n in summary[key].items()) or 'none'}")
    if pairs["rows"]:
        console.print(
            f"{'Length':<14}chosen longer in {balance['chosen_longer']:.0%}, by {balance['mean_difference']:+.2f} characters in the mean"
        )
    if summary["dropped"]:
        reasons = ", ".join(f"{d['reason']} {d['rows']}" for d in summary["dropped"])
        console.print(f"{'Dropped':<14}{reasons}")
    if summary["failed"]:
        console.print(f"{'Not answered':<14}{', '.join(f'{why} {n}' for why, n in summary['failed'].items())}; run it again to ask again")
    held = sum(summary["evaluation"].values())
    console.print(f"{'Evaluation':<14}{held} questions, those for the end in no pair, in {escape(summary['folder'])}/evaluation")
    console.print(f"{'Dataset':<14}{escape(summary['folder'])}/dataset")
