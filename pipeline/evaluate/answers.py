"""Both models answer the same prompts, and a judge compares: an ordinary recipe, run as far as its verdicts in an ordinary run folder."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.errors import RecipeError
from pipeline.evaluate.trained import Trained, is_here
from pipeline.evaluation import EvaluateSettings
from pipeline.model import Model, make_engine
from pipeline.recipe import check_recipe
from pipeline.records import Answer, Comparison, Prompt, Verdict
from pipeline.report import usage_of
from pipeline.runs import Run
from pipeline.session import Session
from pipeline.settings import Anything, PromptsSettings, SamplingSettings, digest, judge_models, label_of
from pipeline.stages import Stage, ask_ahead, collect_shards, is_done, run_stage
from pipeline.tables import read_table, to_records

AFTER, BEFORE = "after", "before"
"""The two models of every evaluation's recipe, and their sides a and b."""


class Showing(Protocol):
    """Shows the progress of a run while a block lasts."""

    def __call__(self, run: Path) -> AbstractContextManager[None]: ...


def hidden(run: Path) -> AbstractContextManager[None]:
    return nullcontext()


def models_of(
    trained: Trained, settings: EvaluateSettings, sampling: SamplingSettings, samples: int, system: str | None
) -> dict[str, Anything]:
    """The settings of the models before and after, as a recipe has them."""
    given = sampling.model_dump(exclude_defaults=True)
    asked: Anything = {"engine": settings.engine, "sampling": given, "samples": samples}
    if system is not None:
        asked["system"] = system
    base: Anything = {"model": trained.base, **({"revision": trained.revision} if trained.revision else {})}
    after = {**base, "adapter": str(trained.adapter)} if trained.adapter else {"model": str(trained.result)}
    sides = ((AFTER, after, settings.after, "strong"), (BEFORE, base, settings.before, "weak"))
    return {
        name: {**asked, **(weights if is_here(own) else {}), **settings.models, **own, "role": role} for name, weights, own, role in sides
    }


def recipe_of(settings: EvaluateSettings, prompts: PromptsSettings, models: dict[str, Anything], judge: Anything, part: str) -> Anything:
    """An ordinary recipe, checked. RecipeError in the words of `evaluate`."""
    raw: Anything = {
        "name": part,
        "prompts": prompts.model_dump(exclude_defaults=True),
        "split": {"test": 0.0},
        "models": models,
        "judge": judge,
        "pair": {"strategy": "strong_weak"},
        "seed": settings.seed,
        "budget": settings.budget.model_dump(exclude_none=True),
        "run": {"local_models": settings.local_models, **({"cache": settings.cache} if settings.cache else {})},
    }
    try:
        recipe = check_recipe(raw)
        for name in recipe.models:
            make_engine(name, recipe.model(name))
        for name, model in judge_models(judge).items():
            make_engine(name, model)
    except RecipeError as error:
        raise RecipeError(f"evaluate: {error}") from error
    return raw


def run_of(trained: Trained, raw: Anything) -> Run:
    """Where a recipe's answers are kept: settings that change what is asked have a folder of their own."""
    what = digest(check_recipe(raw).what())
    return Run(trained.reports / f"{raw['name']}-{what[:10]}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A run whose stages are through."""

    run: Run
    models: Anything
    """Of each model that was asked: what it is called, its engine, and what identifies its weights."""
    usage: Anything
    """What was asked now, by model; replies from the cache cost nothing."""
    weights: Mapping[str, float] | None
    """Of a jury's jurors."""


def ask(trained: Trained, raw: Anything, stages: Sequence[Stage], show: Showing = hidden, keep: ExitStack | None = None) -> Asked:
    """Do these stages of a recipe; what is done is not done again. Its models go when this is through, or with `keep`: the next
    recipe then finds them up. Raises PairsmithError."""
    run = run_of(trained, raw)
    with ExitStack() as own:
        kept = own if keep is None else keep
        kept.enter_context(run.locked())
        run.begin(raw)
        own.enter_context(show(run.path))
        session = kept.enter_context(Session(run))
        try:
            _work_through(session, stages)
        except KeyboardInterrupt:
            session.interrupt()
            raise
        models = {m.name: _identified(m) for m in session.all_models}
        return Asked(run, models, usage_of(session.budget)["total"], getattr(session.judge, "weights", None))


def _identified(model: Model) -> Anything:
    return {"model": label_of(model.called), "engine": model.settings.engine, "revision": model.revision()}


def _work_through(session: Session, stages: Sequence[Stage]) -> None:
    shards = range(collect_shards(session))
    for model in session.in_turn:
        for shard in shards:
            ask_ahead(session, model.name, shard)
    for stage in stages:
        for shard in shards:
            if not is_done(session, stage, shard):
                run_stage(session, stage, shard)


def prompts_of(run: Run) -> list[Prompt]:
    return [p for shard in run.shards() for p in to_records(Prompt, read_table(shard / "prompts.parquet"))]


def answers_of(run: Run) -> dict[str, dict[str, list[Answer]]]:
    """By prompt and model."""
    found: dict[str, dict[str, list[Answer]]] = {}
    for shard in run.shards():
        for answer in to_records(Answer, read_table(shard / "answers.parquet")):
            found.setdefault(answer.prompt_id, {AFTER: [], BEFORE: []})[answer.model].append(answer)
    return found


def verdicts_of(run: Run) -> dict[str, list[Verdict]]:
    """By comparison."""
    found: dict[str, list[Verdict]] = {}
    for shard in run.shards():
        for verdict in to_records(Verdict, read_table(shard / "verdicts.parquet")):
            found.setdefault(verdict.comparison_id, []).append(verdict)
    return found


def meetings(answers: dict[str, list[Answer]]) -> list[tuple[Comparison, Answer, Answer]]:
    """Each answer after with each before, as `compare` has them; those with equal texts too."""
    return [(Comparison.of(a.prompt_id, a.id, b.id), a, b) for a in answers[AFTER] for b in answers[BEFORE]]
