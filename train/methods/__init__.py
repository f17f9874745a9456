"""The methods: one small file each, its name is its name in a recipe.

A method's file defines

    FORM      the rows it wants: `pairs`, `unpaired` or `demonstrations` (see train/rows.py)
    TALKS     whether what it trains writes text; a reward model does not
    LONG      what TRL does with a row of more than max_length tokens whose prompt fits: `cut` its answer, or `drop` the row
    config()                   TRL's config class; its fields are what `trainer` may hold
    settle(recipe, fields)     TRL's fields as they will be set; RecipeError where they do not go together
    make(parts)                the trainer
    fallen(logs, beta, tokens) how far the chosen answers' log-probabilities have fallen since the beginning, in nats a token,
                               from one row of TRL's log; None where the row does not say. `tokens`: of a chosen answer, on average

A file that begins with `_` is a part of these, not one of them.
"""

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, Protocol, cast

from pipeline.settings import Anything
from train.settings import Method, TrainRecipe

Form = Literal["pairs", "unpaired", "demonstrations"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a trainer is put together from."""

    model: Any
    reference: Any
    """A second model, or None: the adapter switched off, or log-probabilities computed beforehand."""
    arguments: Any
    train: Any
    test: Any
    """A dataset, or None where nothing is held out."""
    tokenizer: Any
    adapter: Any
    """A PEFT configuration; None in full training, and where the model brings its adapter."""
    callbacks: list[Any] = field(default_factory=list)

    def as_arguments(self) -> Anything:
        """As most of TRL's trainers take them."""
        return {
            "model": self.model,
            "args": self.arguments,
            "train_dataset": self.train,
            "eval_dataset": self.test,
            "processing_class": self.tokenizer,
            "peft_config": self.adapter,
            "callbacks": self.callbacks,
        }


class MethodPlugin(Protocol):
    """What the module of a method defines."""

    FORM: Form
    TALKS: bool
    LONG: Literal["cut", "drop"]

    def config(self) -> type[Any]: ...
    def settle(self, recipe: TrainRecipe, fields: Anything) -> Anything: ...
    def make(self, parts: Parts) -> Any: ...
    def fallen(self, logs: Anything, beta: float, tokens: float) -> float | None: ...


def load_method(name: Method) -> MethodPlugin:
    """The module of a method; the recipe's shape has made sure that there is one."""
    return cast(MethodPlugin, import_module(f"train.methods.{name}"))
