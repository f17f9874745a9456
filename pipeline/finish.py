"""Finish: what the shards hold becomes a dataset, a report and, last of all, the manifest; unless nothing is new."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from pipeline import __version__, prompts
from pipeline.gate import standing_gates
from pipeline.publish import publish
from pipeline.report import figures_of, markdown, usage_of
from pipeline.runs import FORMAT, explained, json_text, write_text
from pipeline.session import Session
from pipeline.settings import Anything, JudgeSettings, digest, judge_settings
from pipeline.tables import content_digest

_WITH = ("prefect", "pyarrow", "numpy", "openai", "aiohttp", "pydantic", "rapidfuzz", "torch", "transformers")
"""Packages whose versions a manifest names, where they are installed."""


def finish(session: Session) -> Anything:
    """Publish the run and return its summary. A run whose pairs are those of its manifest publishes nothing, and neither does
    one whose judge is not as good as the recipe wants: `refused` says why."""
    run = session.run
    files = [shard / "pairs.parquet" for shard in run.shards()]
    key = digest([FORMAT, [content_digest(f) for f in files], session.recipe.publish.model_dump()])
    before = run.manifest() or {}
    unchanged = before.get("key") == key and run.dataset.is_dir()
    figures = figures_of(session)
    refused = _refused(session)
    usage = usage_of(session.budget)
    if refused:
        unchanged, rows = False, {}
    elif not unchanged and figures["pairs"]["rows"]:
        rows = publish(files, run.dataset, session.recipe.publish, session.recipe.name, figures)
    else:
        rows = before.get("dataset", {}) if unchanged else {}
    summary = {**figures, "usage": usage, "dataset": rows, "unchanged": unchanged, "refused": refused}
    with explained(run.path):
        write_text(run.path / "summary.json", json_text(summary))
        write_text(run.path / "report.md", markdown(figures, usage, unchanged))
        if not (unchanged or refused):
            write_text(run.manifest_file, json_text({**_provenance(session), "key": key, "dataset": rows}))
    return summary


def _refused(session: Session) -> list[str]:
    """What the judge's passport lacks of what the recipe asks: a sentence each. Then nothing is published."""
    judge = judge_settings(session.recipe.judge)[0] if session.recipe.judge else None
    if not isinstance(judge, JudgeSettings) or not judge.passport.asks:
        return []
    from pipeline.passport.figures import run_figures
    from pipeline.passport.thresholds import missed

    wanted, found = judge.passport, run_figures(session.run)
    sentences = missed(found, wanted)
    if not sentences or wanted.otherwise == "stop":
        return sentences
    rest = run_figures(session.run, without=session.people.all.decided)
    sentences = missed(found, wanted, rest)
    return [*sentences, _who_waits(rest["doubtful"])] if sentences else []


def _who_waits(doubtful: int) -> str:
    if not doubtful:
        return "no comparison that the judge left open waits for people: change the judge, or what is wanted of it (judge.passport)"
    what = "comparison that the judge left open waits" if doubtful == 1 else "comparisons that the judge left open wait"
    return f"{doubtful} {what} for people: `pairsmith annotate push RUN` sends {'it' if doubtful == 1 else 'them'}"


def _provenance(session: Session) -> Anything:
    """What was asked, and with what."""
    recipe = session.recipe
    return {
        "format": FORMAT,
        "pairsmith": __version__,
        "python": platform.python_version(),
        "packages": {name: found for name in _WITH if (found := _version(name))},
        "recipe_sha": digest(recipe.what()),
        "seed": recipe.seed,
        "models": {
            n: {"model": m.called, "engine": m.settings.engine, "revision": m.revision()}
            for n, m in ((m.name, m) for m in session.all_models)
        },
        "judge": {"name": session.judge.name, "revision": session.judge.revision()} if session.judge else None,
        "gates": list(standing_gates(recipe.gates)),
        "prompt_files": _prompt_files(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _prompt_files() -> dict[str, str]:
    return {name: prompts.load_prompt(name).sha256 for name in prompts.prompt_names()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
