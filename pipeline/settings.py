"""The recipe: what a user may write, closed and explained. An unknown key is refused, with the nearest known one.

A field marked `How` says how the work is done (speed, money, places), not what is made: two recipes that differ only
there make the same tables, so a run folder accepts either.
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, Field, model_validator

from pipeline.check import Anything as Anything
from pipeline.check import Closed as Closed
from pipeline.check import How as How
from pipeline.check import check, what_of
from pipeline.errors import RecipeError
from pipeline.plugins import Room, load_plugin
from pipeline.thresholds import Thresholds


class PluginSettings(Closed):
    """Base of the `Settings` class that a plug-in's file defines."""


class JudgeSettings(PluginSettings):
    """Base of a judge's `Settings`."""

    passport: Annotated[Thresholds, How] = Field(default_factory=Thresholds)
    """What the judge's figures in this run must reach; where they do not, nothing is published (exit code 3)."""


class TableSettings(Closed):
    """A table that comes in from outside."""

    path: str
    """A JSONL, CSV or Parquet file, a pattern such as `answers-*.jsonl`, a dataset folder, or a hub name. `${NAME}` is
    taken from the environment."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column: theirs. Theirs is a column's name or a JMESPath expression, such as `score[0]`."""
    hub_split: str = "train"
    """The split to read when `path` is a dataset folder or a hub name."""
    hub_revision: str | None = None
    """The branch, tag or commit to read when `path` is a hub name."""


class PromptsSettings(TableSettings):
    """Where the prompts come from."""

    system: str | None = None
    """A system message for the prompts that bring none."""
    bad_rows: Literal["stop", "drop"] = "stop"
    """What an empty prompt, or one longer than a model's context, does: stop the run, or be dropped and counted."""
    limit: int | None = Field(None, ge=1)
    """Read only the first N prompts: the preview before a big run."""


class SplitSettings(Closed):
    """Which prompts are kept for testing."""

    test: float = Field(0.1, ge=0, le=0.9)
    """Share of the prompt clusters that go to the test split. Changing it moves prompts; adding prompts never does."""


class SamplingSettings(Closed):
    """What the sampler is asked for."""

    temperature: float = Field(0.7, ge=0, le=5)
    """0 always takes the likeliest token."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Share of the probability that is sampled from; the engine's default when left out."""
    max_tokens: int = Field(1024, ge=1)
    """Longest answer, in tokens. An answer that is cut off here ends with finish_reason `length` and never pairs."""
    seed: int | None = None
    """With a seed, sample k is asked with seed + k; every prompt with the same one, so that their draws go together. Engines
    promise no bit equality across batch shapes."""
    stop: list[str] = Field(default_factory=list)
    """Texts that end an answer."""
    extra: Anything = Field(default_factory=dict)
    """Any other field of the engine's request body, such as `top_k` or `chat_template_kwargs`."""


class PriceSettings(Closed):
    """Dollars per million tokens."""

    prompt: float = Field(0.0, ge=0)
    """Of what is sent."""
    completion: float = Field(0.0, ge=0)
    """Of what comes back."""


class ModelSettings(PluginSettings):
    """What every engine understands; its own fields are in its file in pipeline/engines."""

    engine: str
    """The plug-in in pipeline/engines."""
    model: str = ""
    """The name the engine knows the model by; the entry's own name when left out."""
    revision: str | None = None
    """Commit, tag or date of the model: part of what a stored reply is filed under. Change it when the model changes."""
    role: Literal["strong", "weak"] | None = None
    """Which side of a strong_weak pair its answers are."""
    samples: int = Field(1, ge=1, le=1024)
    """Answers per prompt."""
    system: str | None = None
    """A system message that only this model sees; it replaces the prompt's own and is not published."""
    sampling: SamplingSettings = Field(default_factory=SamplingSettings)
    """What the sampler is asked for."""
    price: Annotated[PriceSettings, How] = Field(default_factory=PriceSettings)
    """For the budget and the report; servers do not say what they cost."""


class PublishSettings(Closed):
    """The dataset folder."""

    form: Literal["conversational", "plain"] = "conversational"
    """`conversational` writes message lists, to which trainers apply the chat template; `plain` writes texts, which trainers
    join as they are, for models without a template."""
    license: str = "other"
    """A licence identifier of the hub, for the dataset card."""
    language: list[str] = Field(default_factory=list)
    """Language codes for the card; taken from the prompts' `language` column when left out."""
    rows_per_file: Annotated[int, How] = Field(100_000, ge=1)
    """Rows in one Parquet file of the dataset."""
    title: Annotated[str | None, How] = None
    """The card's heading; the recipe's name when left out."""


class BudgetSettings(Closed):
    """What one start of the run may spend; replies from the cache cost nothing. What is in flight is still paid for."""

    requests: int | None = Field(None, ge=1)
    """Requests sent, retries not counted."""
    tokens: int | None = Field(None, ge=1)
    """Tokens of prompts and replies, as the servers count them."""
    dollars: float | None = Field(None, gt=0)
    """By the models' `price`."""


class RunSettings(Closed):
    """Where and in what portions."""

    folder: str | None = None
    """The run folder; data/runs/NAME in the repository when left out."""
    cache: str | None = None
    """The file that holds every reply that was paid for; data/cache/replies.sqlite in the repository when left out."""
    shard: int = Field(500, ge=1, le=100_000)
    """Prompts per shard: memory and the cost of redoing a part follow it."""
    lanes: int = Field(4, ge=1, le=64)
    """Shards that are worked on at once."""
    local_models: Literal["together", "in_turn"] = "together"
    """Whether models in this machine's memory are up at once, or one after the other: each answers all prompts, and goes."""


JUDGE = "judge"
"""The name under which the judge's model is asked and counted; those of a judge made of judges are `judge.NAME`."""


def judges(model: str) -> bool:
    """Whether a model of this name is asked by the judge: it is called `judge`, or `judge.PART` for a judge made of judges."""
    return model == JUDGE or model.startswith(f"{JUDGE}.")


def place_of(model: str) -> str:
    """Where a model's settings stand in the recipe."""
    return f"{judge_place(model)}.model" if judges(model) else f"models.{model}"


def judge_place(name: str) -> str:
    """Where the settings of a judge, or of a part of it, stand in the recipe."""
    return name.replace(".", ".judges.")


def label_of(model: str) -> str:
    """What a model is called in tables: a local folder by its own name, since where it lies is nobody else's business."""
    return Path(model).name if Path(model).expanduser().is_dir() else model


class Recipe(Closed):
    """What a user asks for: prompts, models, who judges, what pairs, what is kept."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")
    """Letters, digits, dot, dash, underscore; names the run folder and the dataset."""
    prompts: PromptsSettings
    """Where the prompts come from."""
    split: SplitSettings = Field(default_factory=SplitSettings)
    """Which of them are kept for testing."""
    models: dict[str, Anything] = Field(min_length=1)
    """Name: settings of the engine that answers (see pipeline/engines)."""
    judge: Anything | None = None
    """Settings of the judge (see pipeline/judges); none where the strategy needs none."""
    pair: Anything
    """Settings of the strategy (see pipeline/strategies)."""
    gates: dict[str, Any] = Field(default_factory=dict)
    """Gate: its settings, or `false` to switch it off (see pipeline/gates)."""
    publish: PublishSettings = Field(default_factory=PublishSettings)
    """The dataset folder."""
    annotate: Annotated[Anything | None, How] = None
    """What people are asked, and where (see pipeline/backends); what they say enters the pairs' key by itself."""
    budget: Annotated[BudgetSettings, How] = Field(default_factory=BudgetSettings)
    """What one start may spend."""
    run: Annotated[RunSettings, How] = Field(default_factory=RunSettings)
    """Where and in what portions."""
    seed: int = 0
    """Of everything that is drawn by chance here."""

    @model_validator(mode="after")
    def _names_are_plain(self) -> "Recipe":
        for name in self.models:
            if judges(name):
                raise ValueError(f"the model name '{name}' is the judge's own; give this model another")
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,120}", name):
                raise ValueError(f"model name '{name}' may hold letters, digits and . _ : / - only")
        return self

    def model(self, name: str) -> ModelSettings:
        """The settings of one model, checked against its engine's own fields."""
        return plugin_settings("engines", self.models[name], "engine", f"models.{name}", ModelSettings)

    def label(self, name: str) -> str:
        """What a model is called in the dataset: the engine's name for it, with the recipe's where that is ambiguous."""
        labels = {n: label_of(self.model(n).model or n) for n in self.models}
        twins = [n for n in self.models if labels[n] == labels[name]]
        return labels[name] if len(twins) == 1 else f"{labels[name]} ({name})"

    def what(self) -> Anything:
        """The recipe without the fields that only say how, in a form that can be compared and hashed."""
        plain = {**what_of(self), "models": {n: what_of(self.model(n)) for n in sorted(self.models)}}
        if self.judge is not None:
            plain["judge"] = judge_what(self.judge)
        return plain


S = TypeVar("S", bound=BaseModel)


def judge_what(raw: Anything, name: str = JUDGE) -> Anything:
    """A judge's settings without the fields that only say how; its model's fields are its engine's."""
    settings, parts = judge_settings(raw, name)
    plain = {"kind": raw["kind"], **what_of(settings)}
    if isinstance(raw.get("model"), dict):
        plain["model"] = what_of(judge_models(raw, name)[name])
    if parts:
        # What stands there beside a part's own settings is said of it: its name, its vote.
        said = [{k: v for k, v in own.items() if k not in part} for own, part in zip(raw["judges"], parts.values(), strict=True)]
        plain["judges"] = [{**own, **judge_what(part, f"{name}.{key}")} for own, (key, part) in zip(said, parts.items(), strict=True)]
    return plain


def judge_settings(raw: Anything, name: str = JUDGE) -> tuple[PluginSettings, dict[str, Anything]]:
    """The checked settings of a judge, and, by name, the raw ones of the judges that it is made of, if any."""
    settings = plugin_settings("judges", raw, "kind", judge_place(name), PluginSettings)
    return settings, getattr(settings, "parts", dict)()


def judge_models(raw: Anything, name: str = JUDGE) -> dict[str, ModelSettings]:
    """The settings of the models that a judge asks, by the names under which they are counted."""
    _, parts = judge_settings(raw, name)
    models = {n: model for key, part in parts.items() for n, model in judge_models(part, f"{name}.{key}").items()}
    if isinstance(raw.get("model"), dict):
        models[name] = plugin_settings("engines", raw["model"], "engine", place_of(name), ModelSettings)
    return models


def plugin_settings(room: Room, raw: Any, name_key: str, where: str, base: type[S]) -> S:
    """Check the settings of a plug-in against the `Settings` of its own file. `name_key` holds the plug-in's name."""
    if not isinstance(raw, dict) or not isinstance(raw.get(name_key), str):
        raise RecipeError(f"{where}: found no '{name_key}', wanted the name of one of pipeline/{room}; add `{name_key}: …`")
    name = raw[name_key]
    kind: type[S] = load_plugin(room, name).Settings
    known = kind.model_fields
    given = raw if name_key in known else {k: v for k, v in raw.items() if k != name_key}
    return check(kind, given, where)


def gate_settings(gate: str, given: Any) -> PluginSettings | None:
    """The checked settings of a gate; None when it is switched off."""
    kind: type[PluginSettings] = load_plugin("gates", gate).Settings
    if given is False:
        return None
    if not (given is None or given is True or isinstance(given, dict)):
        raise RecipeError(f"gates.{gate}: found {given!r}; wanted its settings, true or false")
    return check(kind, given if isinstance(given, dict) else {}, f"gates.{gate}")


def digest(value: Any) -> str:
    """A hash of settings: SHA-256 over canonical JSON, in hex."""
    raw = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return hashlib.sha256(raw).hexdigest()
