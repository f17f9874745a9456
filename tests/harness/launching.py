"""Two processes that train together on CPUs, as `accelerate launch` starts them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.harness.command import ROOT
from tests.harness.training import make_recipe
from tests.harness.waiting import wait_for
from train.output import Output


def write_recipe(folder: Path, name: str, model: Path, batch: int, steps: int, every: int, dtype: str = "auto", **changes: Any) -> Path:
    """The recipe of a training into a folder of its name, without autocast, with a checkpoint `every` so many steps."""
    raw = make_recipe(folder, model, stop={"patience": None}, output={"folder": str(folder / name), "samples": 1}, **changes)
    raw["model"]["dtype"] = dtype
    raw["trainer"] |= {"max_steps": steps, "per_device_train_batch_size": batch, "save_steps": every, "eval_steps": every, "bf16": False}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(raw))
    return folder / f"{name}.yaml"


def launch(recipe: Path, config: str, *options: str, **environment: str) -> "subprocess.Popen[str]":
    """Train a recipe in two processes; `config` is one of train/recipes/accelerate, `options` are accelerate's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"train/recipes/accelerate/{config}.yaml"]
    asked = ["--num_processes", "2", "--main_process_port", str(port), *options]
    return subprocess.Popen(
        [*accelerate, *asked, "-m", "train.run", str(recipe), "--json"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop_after_a_checkpoint(process: "subprocess.Popen[str]", out: Output, seconds: float, ending: float) -> int:
    """Terminate a training that has written a checkpoint: the step at which it says, once, that it stopped. Each part has its time."""
    wait_for(lambda: out.last_checkpoint(mend=False), seconds, process, pause=0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=ending)
    assert process.returncode != 0
    assert said.count("pairsmith: stopped at step ") == 1, said  # by one of them, and at a step they agreed on
    return int(said.partition("stopped at step ")[2].partition(" of")[0])


def difference(one: Path, two: Path) -> float:
    """The largest difference of the weights in two files, which hold the same ones."""
    from safetensors.torch import load_file

    a, b = load_file(one), load_file(two)
    assert {key: tuple(a[key].shape) for key in a} == {key: tuple(b[key].shape) for key in b}
    return max(float((a[key] - b[key]).abs().max()) for key in a)
