"""What a recipe need not say: TRL's fields by method, mode and device, each with its reason.

Learning rates are for preferences between answers that are alike, in thousands: DPO has nothing to gain from more, and with more
the chosen answers fall with the rejected ones. A few hundred pairs that are to teach a *fact*, such as who made the model, need
far more (5e-4 and up, see recipes/identity.yaml): each step is one of a hundred, not of thousands, and the wrong
answer is what the model is surest of.
"""

from dataclasses import dataclass
from typing import Any

from train.settings import Method, TrainRecipe

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Default:
    """A value, and why it is this one."""

    value: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Device:
    """What training runs on."""

    kind: str
    """`cuda` or `cpu`."""
    bf16: bool
    """Whether it computes in bfloat16 itself."""


FULL_RATES: dict[Method, Default] = {
    "dpo": Default(1e-6, "TRL's own; SmolLM3 used 1e-6, Zephyr and Tulu 3 5e-7 with larger batches"),
    "sft": Default(2e-5, "Zephyr, Tulu 3 (5e-6 at 8B) and TRL's own are between 5e-6 and 2e-5"),
    "kto": Default(1e-6, "the paper's authors advise 5e-7 to 5e-6 at beta 0.1"),
    "reward": Default(1e-5, "Tulu 3 used 3e-6 at 8B; the new head starts from nothing"),
    "orpo": Default(8e-6, "TRL's example; the authors' own scripts 5e-6. No reference holds it back"),
}
"""Learning rate where all weights are trained."""

ADAPTER_RATE = Default(10.0, "an adapter's best rate is about ten times that of full training, at every rank (LoRA Without Regret)")
"""Times the full rate, for lora and qlora: 1e-5 for DPO (Zephyr's QLoRA used 5e-6), 2e-4 for SFT (QLoRA's own)."""

EPOCHS: dict[Method, Default] = {
    "dpo": Default(1.0, "a second pass over preferences mostly widens margins that are already right"),
    "sft": Default(2.0, "between Zephyr's one and Tulu's two"),
    "kto": Default(1.0, "as DPO"),
    "reward": Default(1.0, "a reward model learns rows by heart in the second pass (InstructGPT, section 3.5)"),
    "orpo": Default(3.0, "it is SFT and preference in one"),
}

BATCHES: dict[Method, tuple[int, int]] = {"dpo": (4, 4), "sft": (8, 2), "kto": (8, 2), "reward": (8, 2), "orpo": (4, 4)}
"""Rows at once and steps that are added up: 16 together. A pair is two sequences; KTO estimates its KL term within what is at
once, and needs several there."""

EVERYWHERE: dict[str, Default] = {
    "lr_scheduler_type": Default("cosine", "as Zephyr and SmolLM3; `linear` as Tulu 3 differs little"),
    "warmup_steps": Default(0.05, "below 1 a share of the steps; the first gradients of a new adapter are the least to be trusted"),
    "weight_decay": Default(0.0, "preference training is short, and the reference already holds the weights back"),
    "max_length": Default(2048, "tokens of prompt and answer; TRL's 1024 would cut answers of chat data. At most the model's context"),
    "logging_steps": Default(0.02, "fifty points a plot"),
    "logging_first_step": Default(True, "where it began"),
    "save_total_limit": Default(2, "the last to go on from, and the best"),
}

LONGEST = EVERYWHERE["max_length"].value


def trainer_fields(recipe: TrainRecipe, device: Device, context: int | None = None) -> Fields:
    """TRL's fields as they will be set: the defaults, over them what the recipe says. `context`: tokens the model can read."""
    batch, added_up = BATCHES[recipe.method]
    defaults: Fields = {
        **{name: default.value for name, default in EVERYWHERE.items()},
        "learning_rate": _rate(recipe),
        "num_train_epochs": EPOCHS[recipe.method].value,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": added_up,
        **_for_device(recipe, device),
    }
    if context is not None:
        defaults["max_length"] = min(LONGEST, context)
    if recipe.method == "kto":
        # TRL estimates KTO's KL term from the neighbouring row, and so reads the rows in the order in which we put them.
        defaults["train_sampling_strategy"] = "sequential"
    fields = {**defaults, **recipe.trainer}
    fields.setdefault("per_device_eval_batch_size", fields["per_device_train_batch_size"])
    return fields


def _rate(recipe: TrainRecipe) -> float:
    full = float(FULL_RATES[recipe.method].value)
    return full if recipe.mode == "full" else full * float(ADAPTER_RATE.value)


def _for_device(recipe: TrainRecipe, device: Device) -> Fields:
    gpu = device.kind == "cuda"
    return {
        # 2 bytes a weight of optimiser state instead of 8, moved out to the CPU's memory while it is not needed. On a CPU
        # there is nothing to move to, and what is trained there is small.
        "optim": "paged_adamw_8bit" if gpu else "adamw_torch",
        # A fifth more time for a fraction of the activations: on a GPU memory is what ends first, on a CPU time is.
        "gradient_checkpointing": gpu,
        "bf16": device.bf16,
        "use_cpu": not gpu,
        # Only a GPU copies from pinned memory.
        "dataloader_pin_memory": gpu,
    }


def measuring(recipe: TrainRecipe, held_out: bool) -> Fields:
    """When to measure and keep checkpoints, where the recipe does not say: together, so that the best can be kept."""
    every = round(1 / recipe.stop.evaluations, 4)
    fields: Fields = {"save_strategy": "steps", "save_steps": every if recipe.stop.evaluations > 1 else 1.0 - 1e-4}
    if held_out:
        fields |= {"eval_strategy": fields["save_strategy"], "eval_steps": fields["save_steps"]}
    return fields
