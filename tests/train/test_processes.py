"""Two processes that train together, on CPUs: what one alone would train, one output, and stopping and going on as for one."""

import os
import signal
import socket
import subprocess
import sys
import time

import orjson
import pytest
import yaml

from pipeline import ROOT
from tests.harness.training import make_recipe
from train.output import Output
from train.watch import read_log

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = pytest.mark.server

STEPS = 30


def write_recipe(folder, name, model, batch):
    raw = make_recipe(folder, model, mode="lora", stop={"patience": None}, output={"folder": str(folder / name), "samples": 1})
    raw["trainer"] |= {"max_steps": STEPS, "per_device_train_batch_size": batch, "save_steps": 6, "eval_steps": 6, "bf16": False}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(raw))
    return folder / f"{name}.yaml"


def launch(recipe):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "train/recipes/accelerate/fsdp.yaml"]
    command = [*accelerate, "--num_processes", "2", "--main_process_port", str(port), "-m", "train.run", str(recipe), "--json"]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.timeout(400)
def test_two_processes_train_what_one_would_and_go_on_after_a_stop(tiny_model, tmp_path):
    from safetensors.torch import load_file

    from train.run import train

    recipe, out = write_recipe(tmp_path, "two", tiny_model, batch=4), Output(tmp_path / "two")
    stopped = launch(recipe)
    until = time.monotonic() + 150
    while out.last_checkpoint(mend=False) is None:
        assert stopped.poll() is None, stopped.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode != 0
    assert said.count("pairsmith: stopped at step ") == 1, said  # by one of them, and at a step they agreed on
    asked = int(said.partition("stopped at step ")[2].partition(" of")[0])
    assert out.last_checkpoint(mend=False).name == f"checkpoint-{asked}"

    ended = launch(recipe)
    summary, said = ended.communicate(timeout=150)
    assert ended.returncode == 0, said
    assert summary.count("\n") == 1, "one of them says it"
    assert orjson.loads(summary)["resumed_at"] == asked
    steps = [row["step"] for row in read_log(out.log) if "loss" in row]
    assert steps == list(range(1, STEPS + 1)), "each step stands in the log, once"

    alone = train(yaml.safe_load(write_recipe(tmp_path, "one", tiny_model, batch=8).read_text()))
    assert alone["metrics"]["eval_loss"] == pytest.approx(orjson.loads(summary)["metrics"]["eval_loss"], rel=1e-3)
    one, two = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(float((one[key] - two[key]).abs().max()) < 1e-4 for key in one)
