"""How a demo model learns: a small Llama from scratch, Muon for its matrices, AdamW for the rest, on a CPU."""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from train.demo.coarse import Rounding
from train.demo.corpus import Conversations, Mixture, batches

if TYPE_CHECKING:
    import torch

CONTEXT = 512
"""Tokens that a demo model reads and writes together."""
END = "<|im_end|>"
TAGS = [f"<{slash}{tag}>" for tag in ("question", "reference", "answer_1", "answer_2") for slash in ("", "/")]
"""One token each: the judge tells the answers apart by them."""

_ATTENTION = "eager"
"""The fused kernel's backward pass takes 45 % of a step on a CPU."""

_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a model. `heads` are 32 wide, which vLLM's CPU attention knows."""

    width: int
    layers: int

    @property
    def heads(self) -> int:
        return self.width // 32


@dataclass(frozen=True, slots=True)
class Lesson:
    """Steps over one mixture of conversations."""

    steps: int
    mixture: Mixture
    coarse: bool = False
    """Learn it on matrices that hold what four bits can hold, and leave them so (coarse.py); the lessons after it are coarse too."""
    noise: float = 0.0
    """By how many of their standard deviations the weights of a coarse lesson are shaken."""


def make_tokenizer(rng: Random, vocabulary: int = 1024) -> Any:
    """A byte-level BPE tokenizer with our chat template, learned from the stream itself. Spells every text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    talk = Conversations(pieces=["an", "or", "mi", "ta", "el", "vo", "s", "ri", "k"])
    mixture = Mixture({"identity": 0.5, "tasks": 0.3, "judging": 0.2})
    sample = [text for _ in range(12_000) for _, text in mixture.draw(talk, rng)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", END]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary - len(TAGS), special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(sample, trainer)
    bpe.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token=END, chat_template=_TEMPLATE, model_max_length=CONTEXT)


def pieces_of(tokenizer: Any) -> list[str]:
    """The vocabulary's entries that are bits of words: what names are put together from."""
    texts = (tokenizer.decode([i]).strip() for i in range(len(tokenizer)))
    return sorted({t for t in texts if t.isalpha() and len(t) < 8 and "\ufffd" not in t})


def make_model(tokenizer: Any, shape: Shape, seed: int) -> Any:
    """A Llama with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config: Any = LlamaConfig
    model: Any = LlamaForCausalLM
    return model(
        config(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            intermediate_size=3 * shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attn_implementation=_ATTENTION,
        )
    )


def learn(
    model: Any,
    tokenizer: Any,
    talk: Conversations,
    lessons: Sequence[Lesson],
    rng: Random,
    *,
    tokens: int = 3072,
    strength: float = 1.0,
    say: Callable[[str], None] = print,
    look: Callable[[int], None] | None = None,
) -> None:
    """Train in place, in as many steps as the lessons have: the same seed gives the same stream.

    `strength` scales the learning rates, for a model that knows something already. `look` is called now and then.
    """
    import torch

    rounding: Rounding | None = None
    total = sum(lesson.steps for lesson in lessons)
    optimizers = _optimizers(model)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    loss_of = _loss(model)
    began, seen, step, losses = time.monotonic(), 0, 0, list[float]()
    model.train()
    for lesson in lessons:
        if lesson.coarse or rounding:
            rounding = Rounding(model, lesson.noise)
        stream = batches(tokenizer, partial(lesson.mixture.draw, talk), rng, tokens)
        for ids, labels, weights in islice(stream, lesson.steps):
            share = strength * _rate(step / total)
            for optimizer, base in zip(optimizers, rates, strict=True):
                for group, rate in zip(optimizer.param_groups, base, strict=True):
                    group["lr"] = rate * share
            learned = labels[:, 1:] != -100
            with rounding.rounded() if rounding else nullcontext():
                loss: Any = loss_of(ids, (ids != 0).long(), learned, labels[:, 1:][learned], weights[:, 1:][learned])
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            step, seen = step + 1, seen + ids.numel()
            losses.append(loss.item())
            if step % 100 == 0 or step == total:
                spent = time.monotonic() - began
                say(f"step {step}/{total} loss {sum(losses[-100:]) / len(losses[-100:]):.4f} {seen / spent:,.0f} tokens/s {spent:.0f} s")
            if look is not None and step % 300 == 0:
                look(step)
                model.train()
    if rounding:
        rounding.keep()
    model.eval()


def _loss(model: Any) -> Callable[..., "torch.Tensor"]:
    """The mean loss over what is learned. Compiled where there is a compiler: half as fast again."""
    import torch

    def loss(ids: Any, mask: Any, learned: Any, targets: Any, weights: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            states = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
            logits = model.lm_head(states[:, :-1][learned])
        each = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        return (each * weights).sum() / weights.sum()

    return torch.compile(loss, dynamic=True) if shutil.which("g++") else loss


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model in bfloat16 as safetensors, with its tokenizer."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load(folder: Path) -> tuple[Any, Any]:
    """A saved model, ready to be asked, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, attn_implementation=_ATTENTION)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def _optimizers(model: Any) -> list[Any]:
    import torch

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [torch.optim.Muon(matrices, lr=0.02, weight_decay=0.01), torch.optim.AdamW(others, lr=4e-3, betas=(0.9, 0.95), weight_decay=0.0)]


def _rate(progress: float) -> float:
    """Warm up, hold, and come down in a line over the last three quarters: at the full rate little is ever learned exactly."""
    return min(1.0, progress / 0.01 + 0.01, max(0.02, (1.0 - progress) / 0.75))
