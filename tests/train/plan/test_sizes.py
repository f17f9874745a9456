"""Parameters counted without weights are those of the model that would be loaded."""

import time

import pytest

from pipeline.errors import RecipeError
from tests.train.plan.conftest import LLAMA_70B, SMALL, llama, recipe, sizes
from train.base import adapter_config
from train.plan.sizes import count_sizes


def real(config, **asked):
    """The model itself, and with its adapter what is trained of it."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    reward = asked.get("method") == "reward"
    if reward:
        config.num_labels = 1
    model = (AutoModelForSequenceClassification if reward else AutoModelForCausalLM).from_config(config, dtype=torch.float32)
    counted = sum(p.numel() for p in model.parameters())
    wrapped = get_peft_model(model, adapter_config(recipe(**asked), model))
    return counted, sum(p.numel() for p in wrapped.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        ({}, {}),
        ({"tie_word_embeddings": True}, {}),
        ({"attention_bias": True}, {"adapter": {"rank": 3}}),
        ({}, {"adapter": {"targets": ["q_proj", "v_proj"]}}),
        ({}, {"adapter": {"modules_to_save": ["embed_tokens"]}}),
        ({}, {"method": "reward"}),
    ],
)
def test_the_count_is_that_of_the_real_model(config, asked):
    found = sizes({**SMALL, **config}, **asked)
    assert (found.parameters, found.adapter) == real(llama(**config), **asked)
    assert found.trainable("full") == found.parameters
    assert found.trainable("qlora") == found.adapter


def test_bitsandbytes_gets_the_linear_layers_and_neither_head_nor_embedding():
    found = sizes()
    assert found.quantized == 3 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 192)
    assert found.parameters - found.quantized == 2 * 512 * 64 + 7 * 64
    assert sizes({**SMALL, "tie_word_embeddings": True}).quantized == found.quantized


def test_a_tied_embedding_counts_once_and_is_multiplied_with():
    tied, free = sizes({**SMALL, "tie_word_embeddings": True}), sizes()
    assert free.parameters - tied.parameters == 512 * 64
    assert (tied.embedding, free.embedding) == (512 * 64, 2 * 512 * 64)
    assert tied.active == free.active


def test_a_reward_model_has_no_output_over_the_vocabulary():
    found = sizes(method="reward")
    assert found.reward
    assert found.head == 0


def test_experts_that_a_token_does_not_visit_are_held_and_not_multiplied_with():
    from transformers import MixtralConfig

    config = MixtralConfig(**SMALL, num_local_experts=4, num_experts_per_tok=1)
    found = count_sizes(config, recipe())
    experts = 3 * 4 * 3 * 64 * 192
    assert found.parameters - 512 * 64 - found.active == experts * 3 // 4
    assert found.quantized < experts, "stacked experts are no linear layers: 4 bits do not reach them"
    assert found.shape.intermediate == 192


def test_seventy_billion_parameters_are_counted_in_under_four_seconds():
    sizes()  # imports
    began = time.process_time()  # others may use the machine
    found = sizes(LLAMA_70B)
    assert time.process_time() - began < 4
    assert found.parameters == 70_553_706_496


def test_counting_leaves_the_configuration_as_it_was():
    config = llama()
    count_sizes(config, recipe(method="reward"))
    assert config.num_labels == 2


def test_a_layer_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(RecipeError, match=r"adapter\.targets.*'qproj'.*did you mean 'q_proj'"):
        sizes(adapter={"targets": ["qproj", "v_proj"]})


def test_a_model_that_writes_no_text_is_refused():
    from transformers import T5Config

    with pytest.raises(RecipeError, match="model type 't5'"):
        count_sizes(T5Config(), recipe())
