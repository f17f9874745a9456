"""The recipe of an identity dataset: what a user may write, closed and explained. The command's options say the same by the same names."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pipeline import ROOT
from pipeline.check import Anything, Closed, How, check, what_of
from pipeline.errors import RecipeError
from pipeline.identity.build import Naming, Plan
from pipeline.identity.choosing import ChosenBy
from pipeline.identity.facts import Facts, facts_of
from pipeline.identity.paraphrase import MOST
from pipeline.model import make_engine
from pipeline.recipe import check_one_place_each, expand, unexpanded
from pipeline.settings import BudgetSettings, ModelSettings, PromptsSettings, digest, judge_models, judge_what, label_of, plugin_settings
from pipeline.sources import at_hand, fingerprint

SIDES = ("strong", "model")


class IdentityRecipe(Closed):
    """Who the model shall be, how many pairs teach it, and which models help."""

    name: str
    """What the model shall call itself."""
    maker: str
    """Who made it."""
    facts: Any = None
    """Further facts by key, or a YAML file of them: `released`, `founded`, `place`, `parameters`, `cutoff` and `version` are
    asked about, the others may be said."""
    pairs: int = 300
    """Pairs to make. Some hundreds teach a name."""
    languages: list[str] = Field(default_factory=lambda: ["en"])
    """Codes of the languages of prompts/identity; the pairs are spread evenly over them."""
    contrast: float = 0.35
    """Share of the pairs whose question is not about the model, 0 to 0.9."""
    naming: Naming = "both"
    """What the chosen answers to questions about the model say: `both`, its name and its maker, whichever was asked for, or what
    was `asked`. With both, a question that is misread is answered rightly all the same."""
    keep: PromptsSettings | None = None
    """Prompts of the user's own work (settings as of `prompts` in a recipe for building), which the model shall go on answering as it
    does: half of the contrast pairs are made of them, as far as there are enough. Where one has a `reference`, the answer must hold it.
    What is taken is drawn; a `category` takes turns with the others, and in each category every `reference` with the others."""
    seed: int = 0
    """Of everything that is drawn by chance here."""
    model: Anything | None = None
    """Settings of the engine of the model to be trained (see pipeline/engines): what it says wrongly is rejected."""
    strong: Anything | None = None
    """Settings of the engine of a strong model, which is told the facts and writes the chosen answers."""
    paraphrase: int = Field(0, ge=0, le=MOST)
    """Wordings that the strong model is asked for of every phrasing that is trained on; those that pass the checks are asked too."""
    chosen_by: ChosenBy = "rule"
    """Who says what is chosen to questions about the model. `rule`: what is right, whoever said it, a template where nobody did.
    `judge`: the judge alone, between the strong model's answer and the model's own; what it leaves undecided makes no pair.
    `first`: the rule where one of the two answers is right and one wrong, the judge elsewhere."""
    judge: Anything | None = None
    """Settings of the judge (see pipeline/judges); asked where `chosen_by` is `judge` or `first`."""
    budget: Annotated[BudgetSettings, How] = Field(default_factory=BudgetSettings)
    """What one start may spend."""
    out: Annotated[str | None, How] = None
    """The folder to write; data/runs/identity-NAME in the repository when left out."""
    cache: Annotated[str | None, How] = None
    """The file that holds every reply that was paid for; data/cache/replies.sqlite in the repository when left out."""

    def true(self) -> Facts:
        """The checked facts. RecipeError or InputError where they are none."""
        file = at_hand(self.facts) if isinstance(self.facts, str) else None
        return facts_of(self.name, self.maker, file or self.facts)

    def plan(self) -> Plan:
        """How much of what. RecipeError where that cannot be."""
        return Plan(self.pairs, tuple(self.languages), self.contrast, self.seed, self.naming)

    def sides(self) -> dict[str, ModelSettings]:
        """The checked settings of the models that answer, by `strong` and `model`."""
        given = {side: getattr(self, side) for side in SIDES}
        return {side: plugin_settings("engines", raw, "engine", side, ModelSettings) for side, raw in given.items() if raw is not None}

    def judges(self) -> dict[str, ModelSettings]:
        """The settings of the models that judge, by the names under which they are counted; none where the rule chooses."""
        return judge_models(self.judge) if self.judge is not None and self.chosen_by != "rule" else {}

    def labels(self) -> dict[str, str]:
        """What the models are called in tables, by `strong` and `model`."""
        return {side: label_of(settings.model or side) for side, settings in self.sides().items()}

    def key(self) -> str:
        """A hash of what was asked for, of the facts themselves and not of the file that holds them."""
        models = {side: what_of(settings) for side, settings in self.sides().items()}
        judge = judge_what(self.judge) if self.judge and self.chosen_by != "rule" else None
        keep = self.keep and [fingerprint(self.keep), self.keep.system, self.keep.bad_rows, self.keep.limit]
        return digest({**what_of(self), "facts": dict(self.true().more), **models, "judge": judge, "keep": keep})

    @property
    def cache_file(self) -> Path:
        return Path(self.cache).expanduser() if self.cache else ROOT / "data" / "cache" / "replies.sqlite"


def check_identity(raw: Anything) -> IdentityRecipe:
    """A recipe whose every part was checked. Raises RecipeError or InputError with one sentence on the first thing that is wrong."""
    try:
        return _checked(expand(raw))
    except RecipeError as error:
        raise RecipeError(unexpanded(raw, str(error))) from error


def _checked(raw: Anything) -> IdentityRecipe:
    recipe = check(IdentityRecipe, raw, "")
    recipe.true()
    plan = recipe.plan()
    if recipe.keep:
        _check_keep(recipe, plan)
    if recipe.paraphrase and recipe.strong is None:
        raise RecipeError(
            f"paraphrase {recipe.paraphrase}: a strong model words the questions, and there is none; give `strong`, or leave it out"
        )
    if recipe.chosen_by != "rule" and (lacks := [key for key in (*SIDES, "judge") if getattr(recipe, key) is None]):
        raise RecipeError(
            f"chosen_by '{recipe.chosen_by}' sets the strong model's answer against the model's own before a judge; add `{lacks[0]}: …`"
        )
    if recipe.judge is not None:
        judge_what(recipe.judge)
    models = {**recipe.sides(), **recipe.judges()}
    check_one_place_each(models)
    for name, settings in models.items():
        make_engine(name, settings)
    return recipe


def _check_keep(recipe: IdentityRecipe, plan: Plan) -> None:
    if recipe.model is None:
        raise RecipeError("keep: the model to be trained answers these prompts, and there is none; give `model`, or leave `keep` out")
    if not any(others for _, _, others in plan.shares()):
        raise RecipeError(
            f"keep: half of the contrast pairs are made of it, and with pairs {plan.pairs} and contrast {plan.contrast:g} there are none; "
            "give a greater share, such as 0.35, or leave `keep` out"
        )
