"""How a trained model is judged: the section `evaluate` of a training recipe, closed and explained."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.check import Anything, Closed, How, check
from pipeline.recipe import expand
from pipeline.settings import BudgetSettings, PromptsSettings, SamplingSettings


class SkillsSettings(PromptsSettings):
    """Tasks with right answers: what may not be lost."""

    rule: Anything = Field(default_factory=lambda: {"reference": "contains"})
    """Settings of the rule judge (pipeline/judges/rule.py) that says what is right: by the prompts' `reference`, by a pattern or
    by a function of yours, of which 0 is wrong and all above right."""
    sampling: SamplingSettings = Field(default_factory=lambda: SamplingSettings(temperature=0, max_tokens=256))
    """What the sampler is asked for; the likeliest answer when left out, so that chance adds nothing to the difference."""


class PromoteSettings(Closed):
    """When a trained model is kept, and where it goes."""

    min_win_rate: float = Field(0.5, ge=0, le=1)
    """What the lower end of the win rate's 95 % interval must exceed. 0.5 is as good as before. Without a judge there is no win rate,
    and the interval of the identity after training must be above that before."""
    max_drop: float = Field(0.02, ge=0, le=1)
    """Most that a guard metric may fall by; 0.02 is two points of a hundred. Held against the figure itself, not its interval."""
    guards: list[str] | None = None
    """The metrics that may not fall: `skills`, `skills.CATEGORY`, `identity` (on held-out phrasings), `identity.FIGURE`. When left
    out: skills, identity, identity.skills, identity.without_leak and identity.without_overgeneral, as far as they are measured."""
    server: Annotated[str | None, How] = None
    """The URL of a running vLLM server that is given the promoted adapter, such as http://127.0.0.1:8000."""
    served_as: Annotated[str, How] = Field("current", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,120}$")
    """The name under which that server then answers as the adapter."""


class EvaluateSettings(Closed):
    """Before and after, on prompts that were never trained on."""

    prompts: PromptsSettings | None = None
    """A table of prompts; those that were trained on are left out and counted. The dataset's held-out prompts when left out.
    Asked for a judge: without one, `skills` and `identity` bring all that is asked."""
    judge: Anything | None = None
    """Settings of the judge that compares the answers (see pipeline/judges). It may be left out where there is an `identity`: then
    nothing is compared, there is no win rate, and the share right on held-out phrasings says whether the model is better."""
    engine: str = "transformers"
    """The plug-in in pipeline/engines that both models answer through."""
    models: Annotated[Anything, How] = Field(default_factory=dict)
    """Any field of the engine's settings, for both models: `{batch_size: 32, device: cuda}`."""
    before: Anything = Field(default_factory=dict)
    """Fields of the engine's settings for the model before training alone, such as `url` and `model` of a server that has it."""
    after: Anything = Field(default_factory=dict)
    """The same for the trained model. With a `model` or a `url` here, the adapter is not loaded by us: that model has it, and
    `pairsmith promote` wants --force, since nobody knows whether it has the weights that are here."""
    sampling: SamplingSettings = Field(default_factory=SamplingSettings)
    """What the sampler is asked for; as those will ask who use the model."""
    samples: int = Field(1, ge=1, le=64)
    """Answers a prompt and model; all meet. More prompts say more than more samples."""
    system: str | None = None
    """A system message for both models, in place of the prompts' own."""
    skills: SkillsSettings | None = None
    """Tasks with right answers, graded by a rule."""
    identity: str | None = None
    """A folder that `pairsmith identity` made: its evaluation tables ask who the model is."""
    promote: PromoteSettings = Field(default_factory=PromoteSettings)
    """When the trained model is kept."""
    budget: Annotated[BudgetSettings, How] = Field(default_factory=BudgetSettings)
    """What the comparison may spend; replies from the cache cost nothing."""
    cache: Annotated[str | None, How] = None
    """The file that holds every reply; data/cache/replies.sqlite in the repository when left out."""
    local_models: Annotated[Literal["together", "in_turn"], How] = "together"
    """Whether the models in this machine's memory are up at once, or one after the other."""
    shown: Annotated[int, How] = Field(12, ge=0, le=1000)
    """Answers that the report shows side by side."""
    seed: int = Field(0, ge=0)
    """Of the resamples behind the intervals, and of what is shown."""


_PASSED_ON = ("judge", "models", "before", "after")
"""Go into a recipe of their own, with their `${NAME}` as they stand: values from the environment reach no file."""


def evaluate_settings(raw: Anything | None) -> EvaluateSettings:
    """The checked section. Raises RecipeError with one sentence; what engines and judges want is checked when they are made."""
    given = raw or {}
    settings = check(EvaluateSettings, expand(given), "evaluate")
    return settings.model_copy(update={key: given[key] for key in _PASSED_ON if key in given})
