"""A chat model of about 0.2M random weights, made in a second or two: it talks nonsense through every real interface."""

from pathlib import Path

CONTEXT = 256
"""Tokens the tiny model reads and writes together."""
END = "<|im_end|>"

_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SENTENCES = [
    "Which river runs through Vienna? The Danube runs through Vienna.",
    "Name a fruit that grows on trees. An apple grows on a tree, and so does a pear.",
    "You are a helpful assistant. Answer the question of the user in one short sentence.",
    "How many legs has a spider? A spider has eight legs; an ant has six.",
]


def make_tiny_chat_model(folder: Path, seed: int = 0) -> Path:
    """Write a Llama with random weights, a BPE tokenizer and a ChatML template to `folder`, as safetensors; the folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", END]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(_SENTENCES, trainers.BpeTrainer(vocab_size=384, special_tokens=special, initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<|pad|>", eos_token=END, chat_template=_TEMPLATE, model_max_length=CONTEXT
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,  # as wide as this, every prompt gets an answer of its own
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
