"""What `pairsmith doctor` finds of a recipe: of one for building, of an identity dataset's, of a training's.

Each finding is one sentence. Models are started, one after the other where nothing wants them together, and asked nothing.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from flows.recipe import kind_of, read_recipe, run_of
from pipeline.errors import InputError, PairsmithError, RecipeError
from pipeline.evaluation import EvaluateSettings
from pipeline.model import Model
from pipeline.recipe import expand, load_recipe
from pipeline.settings import Anything, ModelSettings, PromptsSettings, judge_models
from pipeline.sources import at_hand

State = Literal["ok", "note", "fail"]
Finding = tuple[State, str, str]
"""How it is, what was looked at, what was found."""

_PACKAGES = ("torch", "transformers", "trl", "peft", "datasets")
"""What every training imports; mode qlora bitsandbytes too."""


def recipe_findings(recipe: str, changes: list[str]) -> Iterator[Finding]:
    """All that can be said of a recipe without asking a model anything."""
    try:
        kind = kind_of(load_recipe(at_hand(recipe), changes))
        yield from {"dataset": _dataset, "identity": _identity, "training": _training}[kind](recipe, changes)
    except PairsmithError as error:
        yield "fail", "recipe", str(error)


def _dataset(recipe: str, changes: list[str]) -> Iterator[Finding]:
    raw = read_recipe(recipe, changes)
    yield "ok", "recipe", f"{recipe} -> {run_of(raw, None).path}"
    from pipeline.runs import Run
    from pipeline.session import Session

    with TemporaryDirectory() as folder:
        scratch = Run(Path(folder) / "run")
        scratch.begin(raw)
        with Session(scratch) as session:
            for model in session.all_models:
                yield _try(f"model {model.name}", partial(session.wait, _ready(model)))


async def _ready(model: Model) -> None:
    async with model.turn():
        await model.start()


def _identity(recipe: str, changes: list[str]) -> Iterator[Finding]:
    from flows.identity import folder_of, read_identity
    from pipeline.identity.asking import LONG, SHORT
    from pipeline.identity.build import Material
    from pipeline.identity.keeping import read_kept
    from pipeline.identity.paraphrase import PROMPT
    from pipeline.identity.recipe import check_identity
    from pipeline.prompts import load_prompt

    raw = read_identity(recipe, changes, {})
    asked = check_identity(raw)
    yield "ok", "recipe", f"{recipe} -> {folder_of(raw)}"
    facts, plan = asked.true(), asked.plan()
    material = Material(facts, plan)
    yield _try("questions", material.check)
    if asked.keep:
        yield _try("keep", partial(read_kept, asked.keep, facts, plan.languages, material.evaluated, plan.seed))
    for name in (LONG, SHORT, *((PROMPT,) if asked.paraphrase else ())) if asked.strong else ():
        yield _try(f"prompt {name}", partial(load_prompt, name))
    yield from _models(asked.sides())
    if judges := asked.judges():
        yield _judge(asked.judge or {}, judges)
        yield from _models(judges)


def _training(recipe: str, changes: list[str]) -> Iterator[Finding]:
    from train.settings import check_train_recipe, read_train_recipe

    raw = read_train_recipe(recipe, changes)
    asked = check_train_recipe(raw)
    yield "ok", "recipe", f"{recipe} -> {asked.folder}"
    wanted = (*_PACKAGES, *(("bitsandbytes",) if asked.mode == "qlora" else ()))
    if missing := [name for name in wanted if find_spec(name) is None]:
        yield "fail", "packages", f"found no {', '.join(missing)}, which this training needs; install pairsmith[train]"
        return
    yield "ok", "packages", ", ".join(wanted)
    yield _try("training", partial(_foreseen, raw))
    if raw.get("evaluate") is not None:
        yield from _evaluation(raw)


def _foreseen(raw: Anything) -> str:
    """All that a training checks before it loads weights: model, data, tokenizer, template, memory. RecipeError where it may not begin."""
    from train import base
    from train.asked import ask

    base.quiet()
    asked = ask(raw)
    if (sentence := asked.plan.refuse()) is not None:
        raise RecipeError(sentence)
    folder, plan = at_hand(asked.recipe.model.path), asked.plan
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise InputError(f"model.path: {asked.recipe.model.path} holds no weights (*.safetensors); give the folder of a whole model")
    needs = f"{plan.memory.needed:.1f} of {plan.device.free:.1f} GiB on {plan.device.name}"
    return f"{len(asked.data.train)} rows for {plan.sizes.parameters / 1e6:,.1f}M parameters in mode {plan.mode}; needs {needs}"


def _evaluation(raw: Anything) -> Iterator[Finding]:
    from pipeline.evaluation import evaluate_settings

    try:
        settings = evaluate_settings(raw["evaluate"])
        sides = _sides(raw, settings)
        judges = judge_models(expand(settings.judge)) if settings.judge else {}
    except PairsmithError as error:
        yield "fail", "evaluate", str(error)
        return
    for name in ("prompts", "skills"):
        if (table := getattr(settings, name)) is not None:
            yield _try(f"evaluate.{name}", partial(_rows, table))
    if settings.identity is not None:
        from pipeline.evaluate.identity import read_questions

        yield _try("evaluate.identity", partial(read_questions, settings.identity, set()))
    yield from _models(sides)
    if settings.judge:
        yield _judge(expand(settings.judge), judges)
        yield from _models(judges)


def _sides(raw: Anything, settings: EvaluateSettings) -> dict[str, ModelSettings]:
    """The models before and, where it lies elsewhere, after; what is trained here is not there yet."""
    from flows.evaluate import trained_by
    from pipeline.evaluate.answers import AFTER, models_of
    from pipeline.evaluate.trained import is_here
    from pipeline.settings import plugin_settings
    from train.settings import check_train_recipe

    recipe = check_train_recipe(raw)
    trained = trained_by(recipe, recipe.folder)
    given = expand(models_of(trained, settings, settings.sampling, settings.samples, settings.system))
    if is_here(settings.after):
        del given[AFTER]
    return {name: plugin_settings("engines", own, "engine", f"evaluate.{name}", ModelSettings) for name, own in given.items()}


def _rows(table: PromptsSettings) -> str:
    """How many prompts a table holds. InputError where it cannot be read, or holds none."""
    from pipeline.collect import collect
    from pipeline.settings import SplitSettings

    plain = PromptsSettings(**table.model_dump(include=set(PromptsSettings.model_fields)))
    if not (count := sum(1 for _ in collect(plain, SplitSettings(test=0)))):
        raise InputError(f"{table.path} holds no prompt; give a table of prompts")
    return f"{count} prompts in {table.path}"


def _judge(raw: Anything, models: Mapping[str, ModelSettings]) -> Finding:
    """Its settings and the prompt files that they name."""
    from pipeline.judges import make_judge

    def made() -> None:
        with _as_models(models) as asked:
            make_judge(raw, asked)

    return _try("judge", made)


def _models(settings: Mapping[str, ModelSettings]) -> Iterator[Finding]:
    """Each model started and let go, since a machine may hold only one."""
    for name, given in settings.items():
        yield _try(f"model {name}", partial(_start, name, given))


def _start(name: str, given: ModelSettings) -> None:
    async def started(model: Model) -> None:
        try:
            await model.start()
        finally:
            await model.close()

    with _as_models({name: given}) as asked:
        asyncio.run(started(asked[name]))


@contextmanager
def _as_models(settings: Mapping[str, ModelSettings]) -> Iterator[dict[str, Model]]:
    """Models with a cache that is gone afterwards."""
    from pipeline.budget import Budget
    from pipeline.cache import ReplyCache
    from pipeline.settings import BudgetSettings

    with TemporaryDirectory() as folder, ReplyCache(Path(folder) / "replies.sqlite") as cache:
        yield {name: Model(name, given, cache, Budget(BudgetSettings())) for name, given in settings.items()}


def _try(what: str, work: Callable[[], Any]) -> Finding:
    try:
        found = work()
    except PairsmithError as error:
        return "fail", what, str(error)
    return "ok", what, found if isinstance(found, str) else "ready"
