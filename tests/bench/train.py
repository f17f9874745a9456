"""What our training costs beside a bare TRL script with the same arguments.

    python -m tests.bench.train [--rounds 3] [--steps 40]

QLoRA-DPO of demo-weak on made-up pairs, in processes of their own that take turns. Prints one JSON line:

    ratio               steps a second of ours over the bare script's, median of the rounds
    ratio_precomputed   the same with reference log-probabilities computed beforehand, training alone
    peak_gib            memory that our process took at most (the GPU's where there is one), median
    peak_bare_gib       the bare script's
    steps_per_s         ours
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import ROOT
from tests.harness.training import as_messages, write_rows

MODEL = "data/demo_models/demo-weak"
ROWS = 200


def recipe(folder: Path, steps: int, precomputed: bool) -> dict[str, Any]:
    """What both train: nothing is measured or saved on the way."""
    trainer = {"max_steps": steps, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "max_length": 128}
    return {
        "name": "bench",
        "data": {"path": str(folder / "rows.jsonl"), "test_share": 0},
        "model": {"path": MODEL, "attention": "eager"},
        "adapter": {"rank": 8, "alpha": 16},
        "trainer": {**trainer, "learning_rate": 1e-4, "logging_steps": 10, "save_strategy": "no"},
        "reference": "precomputed" if precomputed else "adapter_off",
        "output": {"folder": str(folder / "out"), "samples": 0},
    }


def ours(folder: Path, steps: int, precomputed: bool) -> dict[str, float]:
    from train.run import train

    summary = train(recipe(folder, steps, precomputed))
    return {"steps_per_s": summary["steps_per_s"], "peak_gib": summary["peak_gib"]}


def bare(folder: Path, steps: int, precomputed: bool) -> dict[str, float]:
    """As somebody would write it with TRL's documentation open; with the same weights, rows and arguments as ours."""
    import resource
    import time

    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, BitsAndBytesConfig
    from trl import DPOConfig, DPOTrainer

    from train.arguments import settled_fields
    from train.base import this_device
    from train.four_bits import tame
    from train.settings import check_train_recipe

    checked = check_train_recipe(recipe(folder, steps, precomputed))
    fields = settled_fields(checked, this_device(), 512)
    args = DPOConfig(
        **fields, output_dir=str(folder / "bare"), disable_tqdm=True, report_to="none", precompute_ref_log_probs=precomputed,
        logging_nan_inf_filter=False, model_init_kwargs={"attn_implementation": "eager", "dtype": torch.bfloat16},
    )  # fmt: skip
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
    )
    if precomputed:  # without it this script would train with the wrong gradients: see train/base.py
        import bitsandbytes as bnb

        bnb.nn.modules.has_avx512bf16 = lambda: False
    trainer = DPOTrainer(
        model=str(ROOT / MODEL),
        args=args,
        train_dataset=load_dataset("json", data_files=str(folder / "rows.jsonl"), split="train", cache_dir=str(folder / "cache")),
        processing_class=AutoTokenizer.from_pretrained(ROOT / MODEL),
        quantization_config=four_bits,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    tame(trainer.model)
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    gpu = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    return {"steps_per_s": steps / seconds, "peak_gib": gpu or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def in_process(which: str, steps: int, precomputed: bool) -> dict[str, float]:
    """One training in a process of its own, in a folder of its own."""
    with TemporaryDirectory() as folder:
        rows = [{"prompt": f"What is {n} and {n + 1}?", "chosen": f"It is {2 * n + 1}.", "rejected": f"It is {n}."} for n in range(ROWS)]
        write_rows(Path(folder) / "rows.jsonl", [as_messages(row) for row in rows])
        command = [sys.executable, "-m", "tests.bench.train", "--one", json.dumps([which, folder, steps, precomputed])]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(said.stderr[-2000:])
    found: dict[str, float] = json.loads(said.stdout.strip().splitlines()[-1])
    return found


def figures(rounds: int, steps: int) -> dict[str, float]:
    found: dict[tuple[str, bool], list[dict[str, float]]] = {}
    for number in range(rounds):
        for precomputed in (False, True):
            # Who goes first changes, so that a machine that warms up or slows down favours neither.
            for which in ("ours", "bare") if number % 2 else ("bare", "ours"):
                found.setdefault((which, precomputed), []).append(in_process(which, steps, precomputed))
    ratios = {
        p: statistics.median(a["steps_per_s"] / b["steps_per_s"] for a, b in zip(found["ours", p], found["bare", p], strict=True))
        for p in (False, True)
    }
    middle = {key: statistics.median(run["peak_gib"] for run in runs) for key, runs in found.items()}
    return {
        "ratio": round(ratios[False], 3),
        "ratio_precomputed": round(ratios[True], 3),
        "peak_gib": round(middle["ours", False], 3),
        "peak_bare_gib": round(middle["bare", False], 3),
        "steps_per_s": round(statistics.median(run["steps_per_s"] for run in found["ours", False]), 2),
        "rounds": rounds,
        "steps": steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        which, folder, steps, precomputed = json.loads(options.one)
        print(json.dumps({"ours": ours, "bare": bare}[which](Path(folder), steps, precomputed)))
    else:
        print(json.dumps(figures(options.rounds, options.steps)))


if __name__ == "__main__":
    main()
