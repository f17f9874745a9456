"""Making: from a recipe to the folder. The strong model words and answers, the one to be trained answers, a judge may choose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.budget import Budget
from pipeline.cache import ReplyCache
from pipeline.identity.answers import Replies
from pipeline.identity.asking import ask
from pipeline.identity.build import Material, build
from pipeline.identity.choosing import choose, judge_for
from pipeline.identity.dataset import Asked, check_folder, write
from pipeline.identity.keeping import read_kept
from pipeline.identity.paraphrase import Paraphrased, paraphrase
from pipeline.identity.recipe import IdentityRecipe, check_identity
from pipeline.model import Model
from pipeline.report import usage_of
from pipeline.settings import Anything


@dataclass(slots=True)
class Heard:
    """What models said, and what of the summary that makes."""

    material: Material
    replies: Mapping[str, Replies] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    """Fields of dataset.Asked."""


async def make(raw: Anything, folder: Path) -> Anything:
    """Make what a recipe asks for, and return the summary. `raw` is the recipe as it was asked, the models' settings in full.

    Every reply is kept, so that the same recipe asks nothing again. Raises PairsmithError.
    """
    recipe = check_identity(raw)
    facts, plan = recipe.true(), recipe.plan()
    check_folder(folder)
    material = Material(facts, plan)
    material.check()
    if recipe.keep:
        kept = read_kept(recipe.keep, facts, plan.languages, material.evaluated, plan.seed)
        material = Material(facts, plan, kept=kept)
    heard = await _hear(recipe, material) if recipe.sides() else Heard(material, said={"usage": usage_of(Budget())})
    built = build(heard.material, heard.replies)
    asked = Asked(recipe.key(), {**raw, "out": str(folder)}, recipe.labels(), **heard.said)
    return {**write(folder, facts, plan, built, asked), "folder": str(folder)}


async def _hear(recipe: IdentityRecipe, material: Material) -> Heard:
    budget = Budget(recipe.budget)
    with ReplyCache(recipe.cache_file) as cache:
        sides = {side: Model(side, given, cache, budget) for side, given in recipe.sides().items()}
        judges = {name: Model(name, given, cache, budget) for name, given in recipe.judges().items()}
        strong, said = sides.get("strong"), dict[str, Any]()
        if strong and recipe.paraphrase:
            said["paraphrased"] = await _worded(strong, material, recipe.paraphrase)
            material = Material(material.facts, material.plan, said["paraphrased"].phrasings, material.kept)
        answered = await ask(material.first(), material.facts, strong, sides.get("model"))
        replies: Mapping[str, Replies] = answered.replies
        if recipe.chosen_by != "rule":
            replies, said["judge"] = await _judged(recipe, material, replies, judges)
    return Heard(material, replies, {**said, "usage": usage_of(budget), "failed": answered.failed})


async def _worded(strong: Model, material: Material, count: int) -> Paraphrased:
    try:
        return await paraphrase(strong, material.phrasings, count, material.facts)
    except BaseException:
        # It stays up for the answers that follow, unless there will be none.
        await strong.close()
        raise


async def _judged(
    recipe: IdentityRecipe, material: Material, replies: Mapping[str, Replies], models: Mapping[str, Model]
) -> tuple[Mapping[str, Replies], Anything]:
    own = [q for q in material.first() if q.expected]
    judge = judge_for(recipe.chosen_by, recipe.judge or {}, models, own, material.facts)
    try:
        picked, figures = await choose(own, replies, judge, material.facts)
    finally:
        for model in models.values():
            await model.close()
    return {**replies, **picked}, figures
