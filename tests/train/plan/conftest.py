"""Configurations and recipes that the plan is tried on; no model is loaded."""

import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")
pytest.importorskip("trl", reason="trl is not installed: pip install -e '.[train]'")

LLAMA_8B = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
LLAMA_70B = {**LLAMA_8B, "hidden_size": 8192, "intermediate_size": 28_672, "num_hidden_layers": 80, "num_attention_heads": 64}
SMALL = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def llama(**fields):
    from transformers import LlamaConfig

    return LlamaConfig(**{**SMALL, **fields})


def recipe(**fields):
    from train.settings import check_train_recipe

    return check_train_recipe({"name": "tried", "data": {"path": "rows.jsonl"}, "model": {"path": "model"}, **fields})


def sizes(fields=SMALL, **asked):
    from train.plan.sizes import count_sizes

    return count_sizes(llama(**fields), recipe(**asked))


@pytest.fixture(scope="session")
def of_8b():
    return sizes(LLAMA_8B)


@pytest.fixture(scope="session")
def of_70b():
    return sizes(LLAMA_70B)


@pytest.fixture(scope="session")
def tokenizer(tiny_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)
