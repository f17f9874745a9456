"""What the plan foresees beside what a training takes: `python -m tests.bench.plan_gpu` prints one JSON line at the end.

Llamas of random weights in three sizes, in each mode, through our own loading and TRL's DPOTrainer, three steps each in a process
of its own. `plan_error` is the largest of |foreseen - measured| / measured, over sizes and modes.

On a GPU `foreseen` is the plan's `allocated` and `measured` torch.cuda.max_memory_allocated. With --cpu they are of main memory:
the peak of the process's resident set over what it was before the model was loaded; sizes are small, and what libraries and
Python's heap take by the way weighs more.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.measure import Figures, arguments, hand_over, say

MODES = ("qlora", "lora", "full")

GPU_SIZES = {
    "0.5B": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "heads": (16, 8), "vocab_size": 64_000},
    "1.2B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "heads": (32, 8), "vocab_size": 128_256},
    "3.2B": {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "heads": (24, 8), "vocab_size": 128_256},
}
"""The two larger ones have the shapes of Llama 3.2 1B and 3B."""

CPU_SIZES = {
    "17M": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "heads": (6, 6), "vocab_size": 8_000},
    "41M": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "heads": (8, 4), "vocab_size": 16_000},
    "80M": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 8, "heads": (12, 4), "vocab_size": 16_000},
}

SHAPES = {"cuda": (4, 1024), "cpu": (4, 256)}
"""Pairs at once, and tokens of each sequence."""


def make_model(folder: Path, size: dict[str, Any], dtype: str) -> Path:
    """Random weights, and the tokenizer of the tests' tiny model: its ids are among those of any larger vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.harness.tiny_model import make_tiny_chat_model

    make_tiny_chat_model(folder)
    heads, kv = size["heads"]
    wide = {k: v for k, v in size.items() if k != "heads"}
    config = LlamaConfig(
        num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=4096, pad_token_id=0, eos_token_id=2, **wide
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def make_rows(tokenizer: Any, count: int, length: int) -> list[dict[str, str]]:
    """Pairs of about `length` tokens, half of them the prompt."""
    words, half = "Which river runs through Vienna? ", length // 2
    text = words * (length // len(tokenizer(words)["input_ids"]) + 1)
    ids = tokenizer(text)["input_ids"]
    prompt, answer = tokenizer.decode(ids[:half]), tokenizer.decode(ids[half : length - 2])
    return [{"prompt": prompt, "chosen": answer, "rejected": answer[:-1]} for _ in range(count)]


def foresee(recipe: Any, rows: list[Any], tokenizer: Any, config: Any) -> tuple[Any, dict[str, Any]]:
    from train.arguments import settled_fields
    from train.base import this_device
    from train.plan import make_plan
    from train.plan.device import find_device

    fields = settled_fields(recipe, this_device(), config.max_position_embeddings)
    return make_plan(recipe, fields, rows, tokenizer, config=config, device=find_device(measure=False)), fields


def train_once(folder: Path, mode: str, batch: int, length: int, trainer: dict[str, Any]) -> Figures:
    """Foresee and measure one training, in this process."""
    import datasets
    import torch

    from train.arguments import make_arguments
    from train.base import adapter_config, load_config, load_model, load_tokenizer, this_device
    from train.learn import widen
    from train.methods import Parts, load_method
    from train.settings import check_train_recipe

    fixed = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": 1, "max_length": length, "max_steps": 3}
    raw = {"name": "bench", "data": {"path": "-"}, "model": {"path": str(folder)}, "mode": mode}
    recipe = check_train_recipe({**raw, "trainer": {**fixed, **trainer}, "output": {"folder": str(folder / "out")}})
    tokenizer = load_tokenizer(recipe.model, conversational=False)
    rows = make_rows(tokenizer, 3 * batch, length)
    plan, fields = foresee(recipe, rows, tokenizer, load_config(recipe.model))
    given = {**fields, "save_strategy": "no", "output_dir": str(folder / "out")}
    made = make_arguments(recipe, given, held_out=False)
    _warm_up(torch)
    before = _resident()[0]
    model = load_model(recipe, this_device())
    adapter = None if mode == "full" else adapter_config(recipe, model)
    data = datasets.Dataset.from_list(rows)
    trainer = load_method("dpo").make(Parts(model, None, made, data, None, tokenizer, adapter))
    if adapter is not None:
        widen(trainer.model)
    trainer.train()
    cuda = torch.cuda.is_available()
    measured = torch.cuda.max_memory_allocated() / 2**30 if cuda else _resident()[1] - before
    return {
        "mode": mode,
        "foreseen": plan.memory.allocated,
        "measured": measured,
        "worst": plan.memory.worst,
        "tokens": plan.lengths.longest,
    }


def _warm_up(torch: Any) -> None:
    """Libraries that start with their first use would be counted as the model's."""
    import trl  # noqa: F401

    with torch.autocast("cpu", torch.bfloat16):
        (torch.ones(64, 64, requires_grad=True) @ torch.ones(64, 64)).sum().backward()


def _resident() -> tuple[float, float]:
    """GiB of this process now, and at its peak."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 2**20, int(status["VmHWM"].split()[0]) / 2**20


def measure(size: dict[str, Any], mode: str, kind: str, trainer: dict[str, Any] | None = None) -> Figures:
    """The same in a process of its own, whose memory holds nothing else."""
    with tempfile.TemporaryDirectory(prefix="pairsmith-plan-") as place:
        folder = make_model(Path(place) / "model", size, "bfloat16")
        asked = json.dumps([str(folder), mode, *SHAPES[kind], trainer or {}])
        command = [sys.executable, "-m", "tests.bench.plan_gpu", "--one", asked]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{mode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cpu", action="store_true", help="main memory, with small models")
    parser.add_argument("--one", help="used by the script itself")
    args = parser.parse_args()
    if args.one:
        folder, mode, batch, length, trainer = json.loads(args.one)
        print(json.dumps(train_once(Path(folder), mode, batch, length, trainer)), flush=True)
        return
    kind, sizes = ("cpu", CPU_SIZES) if args.cpu else ("cuda", GPU_SIZES)
    rows = []
    for name, size in list(sizes.items())[: 1 if args.small else None]:
        for mode in MODES:
            found = measure(size, mode, kind)
            error = abs(found["foreseen"] - found["measured"]) / found["measured"]
            say(f"{name} {mode}: {found['foreseen']:.3f} GiB foreseen, {found['measured']:.3f} measured, {error:.1%}, {found['worst']}")
            rows.append({"size": name, **found, "error": round(error, 4)})
    hand_over({"plan_error": max(row["error"] for row in rows), "device": kind, "runs": rows})


if __name__ == "__main__":
    main()
