"""Several trainings in place of one, each of another seed; what is kept is the mean of what they learned.

Where data are few, what a training gets wrong is much of it chance: another seed gets other things wrong. The mean of the weights
often gets fewer wrong than its members do (model soups, Wortsman et al. 2022, arXiv 2203.05482). Of adapters it is exact: n of rank r,
side by side, are one of rank n·r.

    members/0, members/1, …    a folder each: log, samples, checkpoints while it learns, and its adapter
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError
from pipeline.runs import write_text
from pipeline.settings import Anything
from train.asked import Asked, label
from train.learn import Learned, learn, make_trainer
from train.lengths import Fitting
from train.output import Output, only_weights
from train.settings import TrainRecipe
from train.watch import as_line, read_log

_APART = 1000
"""Between the seeds of two members, so that trainings of seeds 0, 1 and 2 have no member in common."""


def learn_mean(asked: Asked, fitting: Fitting, output: Output) -> Learned:
    """Train every member that is not there yet, and measure their mean. Raises RecipeError for several processes, and as `learn`."""
    if asked.plan.spread.world > 1:
        raise RecipeError("adapter.average trains one after another in one process, and here are several; start it without accelerate")
    recipe = asked.recipe
    members = [Output(output.path / "members" / str(n)) for n in range(recipe.adapter.average)]
    told = [member.manifest() or _train(asked, fitting, member, n) for n, member in enumerate(members)]
    trainer = make_trainer(replace(asked, recipe=_side_by_side(recipe)), fitting, [])
    _set(trainer.model, [member.result(recipe) / "adapter_model.safetensors" for member in members])
    figures = _together(told)
    figures["metrics"] = {k: round(float(v), 6) for k, v in trainer.evaluate().items()} if fitting.data.test else {}
    _write_log(output, [(read_log(member.log), of["steps"]) for member, of in zip(members, told, strict=True)], figures)
    return Learned(trainer, figures)


def _train(asked: Asked, fitting: Fitting, output: Output, number: int) -> Anything:
    """One member, gone on with where it was stopped; its figures."""
    output.path.mkdir(parents=True, exist_ok=True)
    recipe = asked.recipe
    own = {"seed": recipe.seed + _APART * number, "output": recipe.output.model_copy(update={"folder": str(output.path)})}
    learned = learn(replace(asked, recipe=recipe.model_copy(update=own)), fitting, output)
    with output.making(output.result(recipe)) as half:
        learned.trainer.save_model(str(half))
        only_weights(half, label(recipe.model.path))
    output.finish(learned.figures)
    return learned.figures


def _side_by_side(recipe: TrainRecipe) -> TrainRecipe:
    """The recipe of an adapter that holds all members', at the same scale, which is alpha / rank."""
    adapter = recipe.adapter
    whole = {"rank": adapter.rank * adapter.average, "alpha": adapter.alpha * adapter.average}
    return recipe.model_copy(update={"adapter": adapter.model_copy(update=whole)})


def _set(model: Any, files: Sequence[Path]) -> None:
    """Give the model the mean of these adapters."""
    import torch
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    states = [load_file(file) for file in files]

    def mean(name: str) -> Any:
        parts = [state[name].float() for state in states]
        if "lora_A" in name or "lora_embedding_A" in name:
            return torch.cat(parts, dim=0)
        if "lora_B" in name or "lora_embedding_B" in name:
            return torch.cat(parts, dim=1) / len(parts)
        return torch.stack(parts).mean(dim=0)  # a layer that is trained whole

    set_peft_model_state_dict(model, {name: mean(name) for name in states[0]})


def _together(members: Sequence[Anything]) -> Anything:
    """What the manifest says of all members' trainings."""
    steps, seconds = sum(m["steps"] for m in members), sum(m["seconds"] for m in members)
    return {
        "steps": steps,
        "planned_steps": sum(m["planned_steps"] for m in members),
        "resumed_at": sum(m["resumed_at"] for m in members),
        "best_step": None,
        "stopped": next((m["stopped"] for m in members if m["stopped"]), None),
        "seconds": round(seconds, 2),
        "steps_per_s": round(steps / seconds, 4),
        "peak_gib": max(m["peak_gib"] for m in members),
    }


def _write_log(output: Output, logs: Sequence[tuple[list[Anything], int]], figures: Anything) -> None:
    """The members' logs one after another, their steps counted on, and at the end what was measured of the mean."""
    rows: list[Anything] = []
    before = 0
    for log, steps in logs:
        rows += [{**row, "step": before + row["step"]} for row in log]
        before += steps
    rows.append({"step": before, **figures["metrics"]})
    write_text(output.log, b"".join(map(as_line, rows)).decode())
