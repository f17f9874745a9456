"""How long one batch of a small model takes on this CPU, by trying it: random weights, the real shapes, some tenths of a second.

For small models arithmetic says little: most of a step is what each operation costs besides its multiplications.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from train.plan.memory import Load
from train.plan.sizes import Sizes, trained_adapter
from train.settings import TrainRecipe

_LONGEST_S = 0.5
"""A batch that takes longer by arithmetic is not tried: there arithmetic is what it is made of."""

_TRIES = 5


def time_batch(recipe: TrainRecipe, config: Any, sizes: Sizes, load: Load, length: int, flops: float) -> tuple[float, float] | None:
    """Seconds for the passes of one batch of sequences of `length`, of the fastest try and of the slowest; None where it would take too
    long to find out, or runs elsewhere. What mode qlora unpacks comes on top. `flops`: of one batch, over the device's speed."""
    if load.device != "cpu" or flops > _LONGEST_S or sizes.reward or not length:
        return None
    import torch

    model, ids = make_model(recipe, config, load), torch.randint(0, sizes.shape.vocabulary, (load.sequences, length))

    def forward(model: Any = model) -> Any:
        with torch.autocast("cpu", torch.bfloat16) if load.autocast else nullcontext():
            return model(input_ids=ids, labels=ids, use_cache=False).loss

    def learn() -> None:
        forward().backward()

    def look() -> None:
        with torch.no_grad():
            forward()

    state = torch.get_rng_state()
    try:
        references = float(load.reference in ("adapter_off", "copy"))
        own = 1.0 if load.method == "kto" else 0.0  # its KL term's, through both models
        other = load.other.active / sizes.active if load.other is not None else 1.0
        looks = own + (1.0 + own) * references * other
        learning, looking = _times(learn), _times(look)
        return learning[0] + looks * looking[0], learning[1] + looks * looking[1]
    finally:
        torch.set_rng_state(state)


def make_model(recipe: TrainRecipe, config: Any, load: Load) -> Any:
    """A model of the configuration's shape, with an adapter such as will be trained, a new one or that of `adapter.start`."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    options = {"attn_implementation": recipe.model.attention} if recipe.model.attention else {}
    dtype = torch.bfloat16 if load.width == 2 else torch.float32
    with torch.random.fork_rng([]):
        kind: Any = AutoModelForCausalLM
        model = kind.from_config(config, dtype=dtype, trust_remote_code=False, **options)
        if load.mode != "full":
            model = get_peft_model(model, trained_adapter(recipe, model))
    if load.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    return model.train()


def _times(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of the fastest and the slowest of some tries, after one that starts the libraries."""
    work()
    found = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found), max(found)
