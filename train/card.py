"""The model card of what was trained: what it is, on what data, with which settings, and what came out."""

from typing import Any

import yaml

from pipeline import __version__
from pipeline.settings import Anything
from train.settings import TrainRecipe

BEFORE_AFTER = "<!-- before and after: `pairsmith evaluate` writes its table here -->"
"""Where the evaluation puts what it found."""

_SHOWN = ("eval_loss", "eval_rewards/accuracies", "eval_rewards/margins", "eval_accuracy", "eval_margin", "eval_mean_token_accuracy")

_FIELDS = (
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "num_train_epochs", "max_steps", "per_device_train_batch_size"),
    *("gradient_accumulation_steps", "max_length", "optim", "weight_decay", "beta", "loss_type", "loss_weights", "label_smoothing", "bf16"),
)


def card(recipe: TrainRecipe, summary: Anything, fields: Anything, made_of: Anything) -> str:
    """README.md of an output folder. It holds no path of this machine."""
    header = yaml.safe_dump(_header(recipe), sort_keys=False, allow_unicode=True)
    rows, dropped = summary["rows"], summary["dropped"]
    left_out = "; ".join(f"{n} left out ({reason.replace('_', ' ')})" for reason, n in dropped.items()) or "none left out"
    lines = [
        f"# {recipe.name}",
        "",
        f"{recipe.model.path}, trained with {recipe.method.upper()} ({_MODES[recipe.mode]}) by Pairsmith {__version__}.",
        "",
        "## Data",
        "",
        f"`{made_of['data']['path']}`: {rows['train']} rows to train on, {rows['test']} held out ({summary['split']}); {left_out}; "
        f"{summary['cut']} answers cut at {fields.get('max_length')} tokens. "
        f"Version `{made_of['data']['version'][:12]}`, a hash of all rows.",
        "",
        "## Training",
        "",
        f"{summary['steps']} steps, {summary['seconds']:.0f} s{_stopped(summary)}. Base model: `{made_of['model']['fingerprint'][:40]}`.",
        "",
        *_table("setting", "value", [*_settings(recipe), *((name, fields[name]) for name in _FIELDS if name in fields)]),
        "",
        "## Measured",
        "",
        *_table("on the held-out rows", "value", [(n, f"{summary['metrics'][n]:.4g}") for n in _SHOWN if n in summary["metrics"]]),
        "",
        "These say how well the model tells chosen from rejected, not what it writes: judge it by its answers.",
        "",
        BEFORE_AFTER,
        "",
        "## Use",
        "",
        "```python",
        *_use(recipe),
        "```",
        "",
    ]
    return f"---\n{header}---\n\n" + "\n".join(lines)


_MODES = {"qlora": "QLoRA: an adapter over weights in 4 bits", "lora": "LoRA: an adapter", "full": "all weights"}


def _header(recipe: TrainRecipe) -> Anything:
    return {
        "base_model": recipe.model.path,
        "library_name": "transformers" if recipe.mode == "full" else "peft",
        "pipeline_tag": "text-classification" if recipe.method == "reward" else "text-generation",
        "tags": ["pairsmith", "trl", recipe.method, *([] if recipe.mode == "full" else ["lora"])],
    }


def _settings(recipe: TrainRecipe) -> list[tuple[str, Any]]:
    adapter = recipe.adapter
    found: list[tuple[str, Any]] = [("method", recipe.method), ("mode", recipe.mode), ("seed", recipe.seed)]
    if recipe.mode != "full":
        found += [("rank", adapter.rank), ("alpha", adapter.alpha), ("targets", adapter.targets)]
    if adapter.average > 1:
        found.append(("mean of trainings, each of another seed", adapter.average))
    if recipe.method in ("dpo", "kto"):
        found.append(("reference", recipe.reference))
    return found


def _stopped(summary: Anything) -> str:
    best = f"; the weights are those of step {summary['best_step']}, the best on the held-out rows" if summary["best_step"] else ""
    return (f"; {summary['stopped']}" if summary["stopped"] else "") + best


def _table(left: str, right: str, rows: list[tuple[str, Any]]) -> list[str]:
    if not rows:
        return ["Nothing was held out."]
    return [f"| {left} | {right} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _use(recipe: TrainRecipe) -> list[str]:
    kind = "AutoModelForSequenceClassification" if recipe.method == "reward" else "AutoModelForCausalLM"
    if recipe.mode == "full":
        return [f"from transformers import {kind}", f'model = {kind}.from_pretrained("model")']
    options = ", num_labels=1" if recipe.method == "reward" else ""
    return [
        "from peft import PeftModel",
        f"from transformers import {kind}",
        f'base = {kind}.from_pretrained("{recipe.model.path}"{options})',
        'model = PeftModel.from_pretrained(base, "adapter")',
    ]
