"""The model that is trained: its tokenizer, its weights in the mode's form, its adapter."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import EngineError, InputError, RecipeError, choose_from
from pipeline.fingerprint import folder_fingerprint
from pipeline.runs import read_json
from pipeline.sources import at_hand
from train.defaults import Device
from train.four_bits import tame
from train.methods import load_method
from train.settings import ModelSettings, TrainRecipe, model_name


def quiet() -> None:
    """Keep the libraries' progress bars and remarks off the terminal: what matters of them is said by the plan, or stops the training."""
    import logging

    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    for name in ("bitsandbytes", "trl", "accelerate", "peft"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It sets its own level when it is loaded, which is whenever it is installed; a filter outlasts that.
    logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)


def free_memory() -> None:
    """Give the GPU's memory back that nothing holds any more."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def this_device() -> Device:
    """What this process trains on."""
    import torch

    if torch.cuda.is_available():
        return Device("cuda", torch.cuda.is_bf16_supported())
    return Device("cpu", bool(torch.cpu._is_avx512_bf16_supported()))


@contextmanager
def _loading(path: str, what: str) -> Iterator[None]:
    """Turn what transformers says of a folder or name into a sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        said = " ".join(str(error).split())[:300]
        raise EngineError(f"cannot load the {what} of {path}: {said}; mend model.path, or the files there") from error


def load_config(model: ModelSettings) -> Any:
    """The model's configuration, without its weights."""
    from transformers import AutoConfig

    name = model_name(model.path)
    if (Path(name) / "adapter_config.json").is_file() and not (Path(name) / "config.json").is_file():
        raise RecipeError(
            f"model.path: {model.path} is an adapter and not a model; set model.path to its base, and adapter.start to the adapter"
        )
    with _loading(model.path, "configuration"):
        return AutoConfig.from_pretrained(name, revision=model.revision)


def context_of(config: Any) -> int | None:
    """Tokens the model can read, where its configuration says so."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def load_tokenizer(model: ModelSettings, *, conversational: bool) -> Any:
    """The tokenizer, with the recipe's chat template. Raises InputError where messages meet a tokenizer without a template."""
    from transformers import AutoTokenizer

    with _loading(model.path, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(model_name(model.path), revision=model.revision)
    if model.chat_template is not None:
        try:
            tokenizer.chat_template = at_hand(model.chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"model.chat_template: cannot read {model.chat_template} ({error}); give a Jinja file in UTF-8") from error
    if conversational and tokenizer.chat_template is None:
        raise InputError(
            f"the tokenizer of {model.path} has no chat template, and the prompts are messages; set model.chat_template to a Jinja file, "
            "take an instruction-tuned model, or publish the dataset with `publish.form: plain`"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(recipe: TrainRecipe, device: Device, *, path: ModelSettings | None = None, mode: str | None = None) -> Any:
    """The weights as the mode holds them, on the device; `path` and `mode` for another model than the recipe's, or in another form."""
    import transformers
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    model, mode = path or recipe.model, mode or recipe.mode
    talks = load_method(recipe.method).TALKS
    kind = transformers.AutoModelForCausalLM if talks else transformers.AutoModelForSequenceClassification
    options: dict[str, Any] = {"dtype": _dtype(model, mode, device), "revision": model.revision, "use_safetensors": True}
    if not talks:
        options["num_labels"] = 1
    if model.attention is not None:
        options["attn_implementation"] = model.attention
    # ZeRO-3 divides each weight as it is loaded, and transformers refuses to be told of a device as well.
    if device.kind == "cuda" and not is_deepspeed_zero3_enabled():  # type: ignore[no-untyped-call]
        options["device_map"] = {"": _local_rank()}
    if mode == "qlora":
        options["quantization_config"] = _in_four_bits(recipe, options["dtype"])
    with _loading(model.path, "weights"):
        loaded = kind.from_pretrained(model_name(model.path), **options)
    tame(loaded)
    return loaded


def _in_four_bits(recipe: TrainRecipe, dtype: str) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type=recipe.quantization.type,
        bnb_4bit_use_double_quant=recipe.quantization.double,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
        # The head of a reward model is new and is trained whole.
        llm_int8_skip_modules=["lm_head", "score"],
    )


def _dtype(model: ModelSettings, mode: str, device: Device) -> str:
    if model.dtype != "auto":
        return model.dtype
    return "bfloat16" if mode != "full" and device.bf16 else "float32"


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def adapter_config(recipe: TrainRecipe, model: Any) -> Any:
    """PEFT's configuration for a new adapter. Raises RecipeError where a target is no layer of the model."""
    from peft import LoraConfig

    adapter, talks = recipe.adapter, load_method(recipe.method).TALKS
    _check_layers("targets", [] if adapter.targets == "all-linear" else adapter.targets, model)
    _check_layers("modules_to_save", adapter.modules_to_save, model)
    if "lm_head" in adapter.targets:
        raise RecipeError(
            "adapter.targets: TRL computes log-probabilities past an adapter on lm_head, so it would not be trained; take it out"
        )
    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]
        lora_dropout=adapter.dropout,
        target_modules=adapter.targets,
        modules_to_save=[*adapter.modules_to_save, *(() if talks else ("score",))] or None,
        task_type="CAUSAL_LM" if talks else "SEQ_CLS",
    )


def _check_layers(field: str, names: list[str], model: Any) -> None:
    known = {part for name, _ in model.named_modules() for part in [name.rpartition(".")[2]] if part and not part.isdigit()}
    leaves = {
        name.rpartition(".")[2] for name, module in model.named_modules() if not list(module.children()) and hasattr(module, "weight")
    }
    for name in names:
        if name.rpartition(".")[2] not in known:
            raise RecipeError(f"adapter.{field}: the model has no layer '{name}'; {choose_from(name, leaves)}")


def load_adapter(recipe: TrainRecipe, model: Any, folder: Path, *, trainable: bool) -> Any:
    """The model with an adapter of its own put on. Raises RecipeError where the adapter belongs to another base model."""
    from peft import PeftModel

    check_base(recipe, folder)
    try:
        return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (RuntimeError, ValueError, KeyError) as error:
        said = " ".join(str(error).split())[:200]
        raise RecipeError(
            f"the adapter in {folder.name} does not fit {recipe.model.path} ({said}); it was made for another base model"
        ) from error


def check_base(recipe: TrainRecipe, folder: Path) -> None:
    """RecipeError where a folder is no adapter, or one of another model than the recipe's."""
    described = read_json(folder / "adapter_config.json")
    if described is None:
        raise RecipeError(f"{folder} holds no adapter (no adapter_config.json); give the folder `adapter` of a training")
    made = read_json(folder.parent / "manifest.json") or {}
    theirs, ours = made.get("model", {}).get("fingerprint"), fingerprint(recipe.model)
    base = str(described.get("base_model_name_or_path") or "")
    differs = theirs != ours if theirs else Path(base).name != Path(recipe.model.path).name
    if differs:
        raise RecipeError(
            f"adapter.start: that adapter was made for '{base}', and model.path is {recipe.model.path}; give the model it was made for"
        )


def fingerprint(model: ModelSettings) -> str:
    """What identifies the model: a hash of a folder's files, or a hub name with its revision."""
    name = model_name(model.path)
    return folder_fingerprint(Path(name)) if Path(name).is_dir() else f"{name}@{model.revision or 'main'}"
