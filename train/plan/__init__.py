"""What a training would take, before any weight is loaded.

sizes       parameters, counted on the meta device        device     what there is to train on
memory      GiB, by arithmetic                            fits       the largest batch, and what would fit
lengths     tokens, and what max_length cuts or drops     template   what the chat template does to the rows
schedule    steps, and an estimate of the time            words      all of it for people
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from train.base import load_config
from train.plan.asked import make_load
from train.plan.device import Device, Spread, find_device, find_spread
from train.plan.fits import Fit, hopeless, judge_fit
from train.plan.lengths import Lengths, look_at, summarize
from train.plan.memory import Load, Memory, estimate
from train.plan.schedule import Schedule, make_schedule
from train.plan.sizes import Sizes, count_sizes
from train.plan.template import UNREADABLE, Finding, check_template
from train.plan.timing import time_batch
from train.rows import Row
from train.settings import AdapterSettings, Mode, ModelSettings, TrainRecipe, model_name


@dataclass(frozen=True, slots=True)
class Plan:
    """A training, foreseen. `memory` is of the recipe's mode; `modes` holds all three."""

    name: str
    method: str
    mode: str
    sizes: Sizes
    load: Load
    memory: Memory
    modes: dict[Mode, Memory]
    device: Device
    spread: Spread
    fit: Fit
    lengths: Lengths
    template: list[Finding]
    schedule: Schedule

    def refuse(self) -> str | None:
        """Why this training should not begin, in one sentence with what would help; None where it may."""
        from train.plan.words import refusal

        return refusal(self)

    @property
    def hopeless(self) -> str | None:
        return hopeless(self.sizes, self.device)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data, for plan.json."""
        return {**asdict(self), "refused": self.refuse()}


def make_plan(
    recipe: TrainRecipe,
    fields: Mapping[str, Any],
    rows: Sequence[Row],
    tokenizer: Any,
    *,
    config: Any = None,
    device: Device | None = None,
    ends: Sequence[int] | None = None,
) -> Plan:
    """Foresee a training.

    `fields` are TRL's, as they will be set; `rows` those to train on; `config` is the model's, `ends` are the token ids that end an
    answer by its generation config, and both are read where they are not given. Raises RecipeError or EngineError for a model
    that transformers does not know, and RecipeError for a wrong target module.
    """
    # A device that was given is not this one, and nothing can be tried on it.
    config, tried = config if config is not None else load_config(recipe.model), device is None
    sizes = count_sizes(config, recipe)
    device = device or find_device()
    # accelerate divides nothing among CPUs: launched with FSDP or DeepSpeed there, each process has the whole model, as in DDP.
    spread = find_spread(fields) if device.kind == "cuda" else Spread(find_spread(fields).world)
    template = check_template(rows, tokenizer, writes=not sizes.reward, ends=_ends(recipe.model) if ends is None else ends)
    # Rows that cannot be rendered have no length.
    found = look_at(rows, tokenizer, seed=recipe.seed) if not any(f.name in UNREADABLE for f in template) else []
    batch = int(fields.get("per_device_train_batch_size", 8))
    lengths = summarize(found, len(rows), recipe.method, fields.get("max_length"), batch=batch, context=sizes.shape.context)
    in_mode = {m: recipe.model_copy(update={"mode": m}) for m in get_args(Mode)[::-1]}
    other = _reference_sizes(recipe)
    loads = {m: make_load(r, fields, lengths, device, spread, other) for m, r in in_mode.items()}
    memory = {m: estimate(sizes, load) for m, load in loads.items()}
    load = loads[recipe.mode]
    return Plan(
        name=recipe.name,
        method=recipe.method,
        mode=recipe.mode,
        sizes=sizes,
        load=load,
        memory=memory[recipe.mode],
        modes=memory,
        device=device,
        spread=spread,
        fit=judge_fit(sizes, load, device),
        lengths=lengths,
        template=template,
        schedule=make_schedule(
            sizes,
            load,
            lengths,
            device,
            fields,
            (lambda length, flops: time_batch(recipe, config, sizes, load, length, flops / (device.flops or 1.0))) if tried else None,
        ).repeated(recipe.adapter.average),
    )


def _reference_sizes(recipe: TrainRecipe) -> Sizes | None:
    """Of the recipe's `reference_model`; it gets no adapter, so that the recipe's need not fit it."""
    if recipe.reference_model is None:
        return None
    bare = recipe.model_copy(update={"adapter": AdapterSettings()})
    return count_sizes(load_config(ModelSettings(path=recipe.reference_model)), bare)


def _ends(model: ModelSettings) -> list[int]:
    """What the model itself takes for an answer's end beside its tokenizer's; none where it does not say."""
    from transformers import GenerationConfig

    try:
        said = GenerationConfig.from_pretrained(model_name(model.path), revision=model.revision or "main").eos_token_id
    except OSError:
        return []
    return said if isinstance(said, list) else [] if said is None else [said]
