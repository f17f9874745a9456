"""The training itself: model, data and watchers put together into TRL's trainer, which then works until it is done or stopped."""

import os
import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.errors import Interrupted, RecipeError, RunError, TrainingStopped
from pipeline.settings import Anything
from pipeline.sources import at_hand
from train import base
from train.arguments import make_arguments
from train.asked import Asked
from train.lengths import Fitting
from train.methods import Parts, load_method
from train.output import Output, check_room
from train.plan.device import find_spread
from train.rows import Row
from train.samples import Samples, sample_prompts
from train.settings import ModelSettings, TrainRecipe
from train.trackers import prepare_trackers, tracked
from train.watch import Bar, Guard, Log, Patience, Stopper


@dataclass(frozen=True, slots=True)
class Learned:
    """A trainer that has done its work, and what is to be said of it."""

    trainer: Any
    figures: Anything


def learn(asked: Asked, fitting: Fitting, output: Output) -> Learned:
    """Train, from the last checkpoint where there is one. Raises TrainingStopped where it goes wrong, Interrupted on Ctrl-C."""
    recipe, method = asked.recipe, load_method(asked.recipe.method)
    patience, stopper, bar = Patience(recipe.stop), Stopper(), Bar(Console(stderr=True))
    prompts = sample_prompts(fitting.data.test, recipe.output.samples) if method.TALKS else []
    # The log first: what makes the others stop the training is then in it.
    watchers = [
        Log(output.log),
        Guard(recipe.stop, method, float(asked.fields.get("beta", 0.1)), fitting.tokens),
        patience,
        Samples(output.samples, prompts, asked.tokenizer, recipe.stop),
        stopper,
        bar,
    ]
    trainer = make_trainer(asked, fitting, watchers)
    first = is_first()
    if first:
        check_room(output.path, _trained(trainer.model), trainer.args.save_total_limit or 3)
    last = output.last_checkpoint(mend=first)
    began, before = time.monotonic(), _step_of(last)
    with stopper.listening(), _said(output.path), _handed_on(recipe), tracked(recipe):
        try:
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        finally:
            bar.close()
    state = trainer.state
    if stopper.asked and state.global_step < state.max_steps:
        raise Interrupted(f"stopped at step {state.global_step} of {state.max_steps}; run the same command again to go on from there")
    return Learned(trainer, _figures(trainer, patience.stopped, before, time.monotonic() - began))


def make_trainer(asked: Asked, fitting: Fitting, watchers: list[Any]) -> Any:
    """TRL's trainer of the method, with the weights loaded. Raises RecipeError with what TRL says of settings that it refuses."""
    from transformers.trainer_callback import PrinterCallback

    recipe, data = asked.recipe, fitting.data
    prepare_trackers(recipe)
    arguments = make_arguments(recipe, asked.fields, held_out=bool(data.test))
    model, adapter = base.load_model(recipe, asked.device), None
    if recipe.mode != "full" and recipe.adapter.start is not None:
        model = base.load_adapter(recipe, model, at_hand(recipe.adapter.start), trainable=True)
    elif recipe.mode != "full":
        adapter = base.adapter_config(recipe, model)
    parts = Parts(
        model=model,
        reference=_reference(recipe, asked),
        arguments=arguments,
        train=_dataset(data.train, "train", arguments),
        test=_dataset(data.test, "test", arguments) if data.test else None,
        tokenizer=asked.tokenizer,
        adapter=adapter,
        callbacks=watchers,
    )
    try:
        with _handed_on(recipe):
            trainer = load_method(recipe.method).make(parts)
    except (ValueError, NotImplementedError) as error:
        raise RecipeError(f"TRL refuses this training: {' '.join(str(error).split())}") from error
    trainer.remove_callback(PrinterCallback)
    # DeepSpeed's ZeRO-3 wants all weights of one kind.
    if recipe.mode != "full" and find_spread(asked.fields).engine != "deepspeed":
        widen(trainer.model)
    return trainer


def widen(model: Any) -> None:
    """Hold what is trained beside a base in 32 bits.

    TRL rounds a QLoRA adapter to 16, and a new head has the base's 16. At DPO's rates most steps are then smaller than the weights
    can tell, and are lost.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _dataset(rows: list[Row], name: str, arguments: Any) -> Any:
    """The rows as TRL takes them; for several processes that compute beforehand, from a folder that goes with the checkpoints."""
    from datasets import Dataset

    if arguments.world_size == 1 or not getattr(arguments, "precompute_ref_log_probs", False):
        return Dataset.from_list(rows)
    # The first process leaves what it computed beside the rows, and the others read it there: rows in memory have no such place.
    place = Path(arguments.output_dir) / "rows" / name
    with arguments.main_process_first():
        if is_first():
            Dataset.from_list(rows).save_to_disk(str(place))
        return Dataset.load_from_disk(str(place))


def _reference(recipe: TrainRecipe, asked: Asked) -> Any:
    """A second model where one is needed: the recipe's, or in full training a frozen copy of the trained one."""
    if recipe.reference_model is not None:
        settings = ModelSettings(path=recipe.reference_model, dtype=recipe.model.dtype, attention=recipe.model.attention)
        return base.load_model(recipe, asked.device, path=settings)
    if recipe.mode == "full" and recipe.method in ("dpo", "kto") and recipe.reference == "adapter_off":
        return base.load_model(recipe, asked.device)
    return None


@contextmanager
def _handed_on(recipe: TrainRecipe) -> Iterator[None]:
    """Say it of what the recipe hands on unseen, such as lr_scheduler_kwargs. Any other TypeError is a mistake of ours."""
    try:
        yield
    except TypeError as error:
        named = _KEYWORD.search(str(error))
        fields = [name for name, value in recipe.trainer.items() if isinstance(value, dict) and named and named[1] in value]
        if not fields or named is None:
            raise
        raise RecipeError(f"trainer.{fields[0]}: nothing there takes '{named[1]}' ({error}); take it out, or mend its name") from error


_KEYWORD = re.compile(r"unexpected keyword argument '(\w+)'")


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    """Turn the ends of memory and disk into sentences."""
    import torch
    from safetensors import SafetensorError

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingStopped(
            "the GPU's memory is used up; halve trainer.per_device_train_batch_size and double trainer.gradient_accumulation_steps, or "
            "set trainer.gradient_checkpointing: true, and run the same command in another folder (--set output.folder=…)"
        ) from error
    except (SafetensorError, RuntimeError) as error:
        full = "No space left" in str(error) or "PytorchStreamWriter failed" in str(error)
        if not full:
            raise
        raise RunError(
            f"{folder}: the disk is full; make room and run the same command again: it goes on from the last checkpoint"
        ) from error


def _figures(trainer: Any, stopped: str | None, before: int, seconds: float) -> Anything:
    state = trainer.state
    # The weights that are kept are the best ones, so what is said of them is what was measured there.
    step = state.best_global_step if trainer.args.load_best_model_at_end and state.best_global_step else state.global_step
    metrics = {k: v for row in state.log_history if row["step"] == step for k, v in row.items() if k.startswith("eval_")}
    return {
        "steps": state.global_step,
        "planned_steps": state.max_steps,
        "resumed_at": before,
        "best_step": step if trainer.args.load_best_model_at_end else None,
        "stopped": stopped,
        "seconds": round(seconds, 2),
        "steps_per_s": round((state.global_step - before) / seconds, 4),
        "metrics": {k: round(float(v), 6) for k, v in metrics.items()},
        "peak_gib": round(_peak_gib(), 3),
    }


def _peak_gib() -> float:
    """Memory that this process took at most: the GPU's where there is one, else the machine's."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _trained(model: Any) -> int:
    """Parameters that are trained. ZeRO-3 leaves an empty tensor in place of each weight, with its size beside it."""
    return sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters() if p.requires_grad)


def _step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0


def is_first() -> bool:
    """Whether this process writes; of several that accelerate or torchrun started, one does."""
    return int(os.environ.get("RANK", "0")) == 0
