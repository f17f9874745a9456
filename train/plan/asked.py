"""What a recipe, with the defaults that it left out, asks of a device: the one place where fields of TRL become a Load."""

from collections.abc import Mapping
from typing import Any, Literal

from train.plan.device import Device, Spread
from train.plan.lengths import Lengths
from train.plan.memory import Load
from train.plan.sizes import Sizes
from train.settings import TrainRecipe

_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}


def make_load(
    recipe: TrainRecipe, fields: Mapping[str, Any], lengths: Lengths, device: Device, spread: Spread, other: Sizes | None = None
) -> Load:
    """`fields`: TRL's, as they will be set (see train/defaults.py); `other`: the sizes of `reference_model`."""
    autocast = bool(fields.get("bf16", True) or fields.get("fp16"))
    limit = fields.get("max_length")
    packed = bool(fields.get("packing")) and limit is not None
    return Load(
        method=recipe.method,
        mode=recipe.mode,
        batch=int(fields.get("per_device_train_batch_size", 8)),
        length=int(limit or 0) if packed else lengths.longest or int(limit or 1024),
        width=_width(recipe, device),
        autocast=autocast,
        scored=None if packed else lengths.scored or None,
        accumulation=int(fields.get("gradient_accumulation_steps", 1)),
        checkpointing=bool(fields.get("gradient_checkpointing", True)),
        optimizer=str(fields.get("optim", "adamw_torch_fused")),
        reference=_reference(recipe, fields),
        other=other,
        second_adapter=recipe.adapter.start is not None and recipe.mode != "full" and recipe.method in ("dpo", "kto") and other is None,
        double=recipe.quantization.double,
        eager=recipe.model.attention == "eager",
        device=device.kind,
        world=spread.world,
        shared=spread.shared,
        masters=spread.engine == "deepspeed" and autocast,
    )


def _width(recipe: TrainRecipe, device: Device) -> int:
    """Bytes of a weight; `auto` as train/base.py loads it."""
    if recipe.model.dtype != "auto":
        return _WIDTHS[recipe.model.dtype]
    return 2 if recipe.mode != "full" and device.bf16 else 4


def _reference(recipe: TrainRecipe, fields: Mapping[str, Any]) -> Literal["none", "adapter_off", "precomputed", "copy"]:
    if recipe.method not in ("dpo", "kto"):
        return "none"
    if recipe.reference == "precomputed" or fields.get("precompute_ref_log_probs"):
        return "precomputed"
    return "copy" if recipe.reference == "model" or recipe.mode == "full" else "adapter_off"
