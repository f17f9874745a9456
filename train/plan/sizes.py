"""How large a model is, counted on torch's meta device: every layer is made, and no weight. Under a second for 70B."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import RecipeError
from pipeline.sources import at_hand
from train.base import adapter_config
from train.methods import load_method
from train.settings import TrainRecipe


@dataclass(frozen=True, slots=True)
class Shape:
    """What activations follow from, all as numbers a token: widths, not bytes."""

    layers: int
    hidden: int
    intermediate: int
    """Of the feed-forward part; for a mixture of experts, of all experts that a token visits."""
    query: int
    """Heads times head size."""
    heads: int
    norms: int
    """Normalisations of the hidden state in one layer: 2 in Llama, 4 in Gemma 2."""
    vocabulary: int
    context: int | None
    """Longest sequence the model was made for, in tokens."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of parameters. An adapter's are those that `get_peft_model` adds and trains."""

    architecture: str
    parameters: int
    """All of the model; tied ones count once."""
    quantized: int
    """Weights that bitsandbytes puts into 4 bits: linear layers. Embeddings, head, norms and stacked experts stay as they are."""
    embedding: int
    """Of the input embedding and, where it is not tied to it, the output's."""
    head: int
    """Of the output layer over the vocabulary; 0 for a reward model."""
    largest: int
    """Of the largest matrix that is quantized."""
    layer: int
    """Of one of the layers."""
    active: int
    """That a token is multiplied with: no lookup of embeddings, and of the experts only those it visits."""
    factors: int
    """Numbers that Adafactor keeps for all parameters: a row and a column for each matrix."""
    adapter: int
    adapter_factors: int
    shape: Shape
    reward: bool = False

    def trainable(self, mode: str) -> int:
        return self.parameters if mode == "full" else self.adapter


def count_sizes(config: Any, recipe: TrainRecipe) -> Sizes:
    """Count a model and the adapter of a recipe. RecipeError where it writes no text, or the adapter names no layer of it."""
    reward = not load_method(recipe.method).TALKS
    model = _empty_model(config, reward)
    text = config.get_text_config()
    matrices = dict(_quantized(model))
    embedding, output = model.get_input_embeddings(), None if reward else model.get_output_embeddings()
    tied = output is not None and output.weight is embedding.weight
    everything = sum(p.numel() for p in model.parameters())
    head = output.weight.numel() if output is not None else 0
    looked_up = 0 if tied else embedding.weight.numel()
    counted = Sizes(
        architecture=type(model).__name__,
        parameters=everything,
        quantized=sum(matrices.values()),
        embedding=embedding.weight.numel() + (0 if tied else head),
        head=head,
        largest=max(matrices.values(), default=0),
        layer=(everything - embedding.weight.numel() - (0 if tied else head)) // max(1, text.num_hidden_layers),
        active=everything - looked_up - _idle(model, text),
        factors=sum(_factors(p) for p in model.parameters()),
        adapter=0,
        adapter_factors=0,
        shape=_shape(model, text),
        reward=reward,
    )
    trained = _adapter_parameters(model, recipe)
    return replace(counted, adapter=sum(p.numel() for p in trained), adapter_factors=sum(_factors(p) for p in trained))


def _empty_model(config: Any, reward: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind: Any = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
    config = deepcopy(config)
    if reward:
        config.num_labels = 1
    try:
        with torch.device("meta"):
            return kind.from_config(config, trust_remote_code=False)
    except ValueError as error:
        wanted = "a reward model" if reward else "a language model that writes text"
        raise RecipeError(
            f"model.path: transformers has no way to make {wanted} of model type '{config.model_type}'; give a causal language model"
        ) from error


def _quantized(model: Any) -> Iterator[tuple[str, int]]:
    """The layers that bitsandbytes replaces, by transformers' own rule, and their weights."""
    from torch.nn import Linear
    from transformers.quantizers.base import get_keys_to_not_convert

    kept = set(get_keys_to_not_convert(model))
    for name, module in model.named_modules():
        if isinstance(module, Linear) and name not in kept and not any(name.endswith(f".{k}") for k in kept):
            yield name, module.weight.numel()


def _idle(model: Any, text: Any) -> int:
    """Parameters of the experts that a token does not visit."""
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    experts = next((n for name in names if isinstance(n := getattr(text, name, None), int) and n), 0)
    visited = getattr(text, "num_experts_per_tok", None) or experts
    if not experts:
        return 0
    held = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    return int(held * (experts - visited) // experts)


def _factors(parameter: Any) -> int:
    shape = parameter.shape
    return int(sum(shape[-2:]) * (parameter.numel() // (shape[-1] * shape[-2])) if len(shape) >= 2 else parameter.numel())


def _shape(model: Any, text: Any) -> Shape:
    hidden, layers, heads = text.hidden_size, text.num_hidden_layers, text.num_attention_heads
    size = getattr(text, "head_dim", None) or hidden // heads
    wide = getattr(text, "intermediate_size", None) or 4 * hidden
    visited = getattr(text, "num_experts_per_tok", None)
    if visited:
        wide = visited * (getattr(text, "moe_intermediate_size", None) or wide) + (getattr(text, "shared_expert_intermediate_size", 0) or 0)
    normed = [
        p for m in model.modules() if "norm" in type(m).__name__.lower() for n, p in m.named_parameters(recurse=False) if n == "weight"
    ]
    norms = sum(p.numel() == hidden for p in normed)
    return Shape(
        layers=layers,
        hidden=hidden,
        intermediate=wide,
        query=heads * size,
        heads=heads,
        # One more comes after the last layer.
        norms=max(1, (norms - 1) // layers),
        vocabulary=text.vocab_size,
        context=getattr(text, "max_position_embeddings", None),
    )


def trained_adapter(recipe: TrainRecipe, model: Any) -> Any:
    """PEFT's configuration of a new adapter, or of the one that training goes on from, whose own rank and layers hold."""
    start = None if recipe.adapter.start is None else at_hand(recipe.adapter.start)
    if start is None or not (start / "adapter_config.json").is_file():  # that it is missing, train/base.py says
        return adapter_config(recipe, model)
    from peft import PeftConfig

    found = PeftConfig.from_pretrained(str(start))
    found.inference_mode = False
    return found


def _adapter_parameters(model: Any, recipe: TrainRecipe) -> list[Any]:
    """What an adapter would train. The model is no longer the same afterwards."""
    import torch
    from peft import get_peft_model

    with torch.device("meta"):
        wrapped = get_peft_model(model, trained_adapter(recipe, model))
    return [p for p in wrapped.parameters() if p.requires_grad]
