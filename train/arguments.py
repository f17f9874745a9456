"""From the recipe's `trainer` to TRL's config: unknown fields refused by name, ours set, everything of the right kind."""

import dataclasses
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

from pipeline.errors import RecipeError, choose_from
from pipeline.settings import Anything
from train.defaults import Device, measuring, trainer_fields
from train.methods import MethodPlugin, load_method
from train.settings import TrainRecipe
from train.trackers import PROJECT

OURS: dict[str, str] = {
    "output_dir": "output.folder",
    "seed": "seed",
    "data_seed": "seed",
    "report_to": "report_to",
    "run_name": "name",
    "precompute_ref_log_probs": "reference: precomputed",
    "metric_for_best_model": "stop.metric",
    "greater_is_better": "stop.metric",
    "load_best_model_at_end": "stop.metric",
    "push_to_hub": "output.push",
    "hub_model_id": "output.push",
    "dataset_text_field": "data.columns",
    "chat_template_path": "model.chat_template",
    "label_names": "data.columns",
    **dict.fromkeys(("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"), "reference"),
}
"""Fields of TRL that the recipe has a place of its own for."""

NOBODYS: dict[str, str] = {
    # No key of a dict, which tests/test_house.py would take for the option itself.
    **dict.fromkeys(("trust_remote_code",), "code that comes with a model is never run"),
    "hub_token": "secrets come from the environment: export HF_TOKEN",
    "model_init_kwargs": "the model is loaded by us: see the section `model`",
    "resume_from_checkpoint": "the same command goes on from the last checkpoint by itself",
    "logging_nan_inf_filter": "it would hide a NaN, and a NaN stops the training",
    "disable_tqdm": "the progress bar is ours",
    "remove_unused_columns": "the rows that reach the trainer hold what it reads, and nothing else",
    "dataset_kwargs": "the rows are prepared by us",
    "do_train": "training is what the command does",
    "do_eval": "held-out rows are measured whenever there are some",
    "do_predict": "use `pairsmith evaluate`",
}
"""Fields of TRL that are not to be set, and why."""


def check_fields(recipe: TrainRecipe) -> None:
    """RecipeError for the first field of `trainer` that is unknown, set elsewhere, or not to be set."""
    kinds = field_kinds(load_method(recipe.method))
    for name in recipe.trainer:
        if name in OURS:
            raise RecipeError(f"trainer.{name} is set by the recipe itself; use `{OURS[name]}` and take it out of `trainer`")
        if name in NOBODYS:
            raise RecipeError(f"trainer.{name}: {NOBODYS[name]}; take it out")
        if name not in kinds:
            known = kinds.keys() - OURS.keys() - NOBODYS.keys()
            raise RecipeError(f"trainer.{name} is no field of TRL's {recipe.method} config; {_nearest(name, known)}")


def field_kinds(method: MethodPlugin) -> dict[str, Any]:
    """The fields of a method's config class, with their types."""
    config = method.config()
    hints = get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config) if field.init}


def settled_fields(recipe: TrainRecipe, device: Device, context: int | None) -> Anything:
    """All of TRL's fields that are set, by the recipe or by us, but for places and seeds. Raises RecipeError."""
    check_fields(recipe)
    method = load_method(recipe.method)
    kinds = field_kinds(method)
    ours = {k: v for k, v in trainer_fields(recipe, device, context).items() if k in kinds}
    fields = {name: _as_kind(name, value, kinds[name]) for name, value in ours.items()}
    longest = fields.get("max_length")
    if context is not None and (longest is None or longest > context):
        raise RecipeError(f"trainer.max_length: found {longest}, and the model reads at most {context} tokens; set it to that or less")
    return method.settle(recipe, fields)


def make_arguments(recipe: TrainRecipe, fields: Anything, *, held_out: bool) -> Any:
    """TRL's config. Raises RecipeError with what it says of fields that do not go together."""
    times = {**measuring(recipe, held_out), **_when(fields)}
    if not held_out:
        times = {k: v for k, v in times.items() if not k.startswith("eval_")}
    best = held_out and times["eval_strategy"] != "no" and times["save_strategy"] != "no"
    ours: Anything = {
        **times,
        "output_dir": str(recipe.folder / "checkpoints"),
        "seed": recipe.seed,
        "report_to": recipe.report_to or "none",
        "run_name": recipe.name,
        "project": fields.get("project", PROJECT),
        "disable_tqdm": True,
        "logging_nan_inf_filter": False,
        "load_best_model_at_end": best,
        "metric_for_best_model": recipe.stop.metric if best else None,
        "greater_is_better": not recipe.stop.metric.endswith("loss") if best else None,
    }
    if recipe.reference == "precomputed":
        ours["precompute_ref_log_probs"] = True
    try:
        return load_method(recipe.method).config()(**{**fields, **ours})
    except (ValueError, TypeError) as error:
        raise RecipeError(f"trainer: {' '.join(str(error).split())}") from error


def _when(fields: Anything) -> Anything:
    """When the recipe wants to measure and to save; what it says of one holds for the other."""
    given: Anything = {k: fields[k] for k in ("eval_strategy", "eval_steps", "save_strategy", "save_steps") if k in fields}
    for one, other in (("eval", "save"), ("save", "eval")):
        for what in ("strategy", "steps"):
            if f"{one}_{what}" in given and given[f"{one}_{what}"] != "no":
                given.setdefault(f"{other}_{what}", given[f"{one}_{what}"])
    return given


def _nearest(name: str, known: set[str]) -> str:
    # All hundred fields would be no sentence: the nearest one, or where to read of them.
    hint = choose_from(name, known).partition(" Known:")[0]
    return hint if hint.startswith("did you mean") else "see the fields of that class in TRL's documentation"


def _as_kind(name: str, value: Any, kind: Any) -> Any:
    """A value as its field wants it. YAML reads 5e-4 as a text (it wants 5.0e-4), and that is what people write."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    numbers = [k for k in kinds if k in (int, float)]
    if isinstance(value, str) and numbers and str not in kinds:
        try:
            return int(value) if float not in numbers else float(value)
        except ValueError:
            raise RecipeError(f"trainer.{name}: found {value!r}, wanted a number") from None
    if bool in kinds and not isinstance(value, bool) and value is not None and not (set(kinds) - {bool, type(None)}):
        raise RecipeError(f"trainer.{name}: found {value!r}, wanted true or false")
    if numbers and isinstance(value, bool) and bool not in kinds:
        raise RecipeError(f"trainer.{name}: found {value!r}, wanted a number")
    return value
