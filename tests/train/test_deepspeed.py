"""DeepSpeed's ZeRO-3, with two processes on CPUs: what one process alone would train, saved whole, and gone on with after a stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec

import orjson
import pytest
import yaml

from pipeline import ROOT
from tests.harness.training import make_recipe
from train.output import Output
from train.watch import read_log

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed: pip install deepspeed"),
]

STEPS = 12


def write_recipe(folder, name, model, mode, batch, reference="adapter_off"):
    output = {"folder": str(folder / name), "samples": 1}
    raw = make_recipe(folder, model, mode=mode, reference=reference, stop={"patience": None}, output=output)
    # DeepSpeed holds all weights in one precision; in bf16, adapters beside it would round otherwise.
    raw["model"]["dtype"] = "float32"
    raw["trainer"] |= {"max_steps": STEPS, "per_device_train_batch_size": batch, "save_steps": 3, "eval_steps": 3, "bf16": False}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(raw))
    return folder / f"{name}.yaml"


def launch(recipe):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "train/recipes/accelerate/zero3.yaml"]
    asked = ["--num_processes", "2", "--main_process_port", str(port), "--mixed_precision", "no"]
    return subprocess.Popen(
        [*accelerate, *asked, "-m", "train.run", str(recipe), "--json"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(launched):
    """The summary of a training that ends by itself; DeepSpeed's own words on stdout are left out."""
    summary, said = launched.communicate(timeout=300)
    assert launched.returncode == 0, said
    return orjson.loads(next(line for line in summary.splitlines() if line.startswith("{")))


def trained_alone(folder, model, mode):
    from train.run import train

    return train(yaml.safe_load(write_recipe(folder, "one", model, mode, batch=8).read_text()))


def same_weights(folder, result):
    from safetensors.torch import load_file

    one, two = (load_file(folder / name / result) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert {key: tuple(one[key].shape) for key in one} == {key: tuple(two[key].shape) for key in two}
    return max(float((one[key] - two[key]).abs().max()) for key in one)


@pytest.mark.timeout(900)
def test_divided_weights_learn_what_whole_ones_do_and_go_on_after_a_stop(tiny_model, tmp_path):
    recipe, out = write_recipe(tmp_path, "two", tiny_model, "lora", batch=4), Output(tmp_path / "two")
    stopped = launch(recipe)
    until = time.monotonic() + 300
    while out.last_checkpoint(mend=False) is None:
        assert stopped.poll() is None, stopped.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate(timeout=120)
    assert said.count("pairsmith: stopped at step ") == 1, said
    asked = int(said.partition("stopped at step ")[2].partition(" of")[0])

    summary = finish(launch(recipe))
    assert summary["resumed_at"] == asked
    assert [row["step"] for row in read_log(out.log) if "loss" in row] == list(range(1, STEPS + 1))
    assert trained_alone(tmp_path, tiny_model, "lora")["metrics"]["eval_loss"] == pytest.approx(summary["metrics"]["eval_loss"], rel=1e-3)
    assert same_weights(tmp_path, "adapter/adapter_model.safetensors") < 1e-4


@pytest.mark.timeout(600)
def test_a_divided_model_is_saved_whole_and_its_reference_computed_beforehand(tiny_model, tmp_path):
    summary = finish(launch(write_recipe(tmp_path, "two", tiny_model, "full", batch=4, reference="precomputed")))
    # The one process has its reference beside it: both ways must come to the same weights.
    alone = trained_alone(tmp_path, tiny_model, "full")
    assert alone["metrics"]["eval_loss"] == pytest.approx(summary["metrics"]["eval_loss"], rel=1e-3)
    assert same_weights(tmp_path, "model/model.safetensors") < 1e-4
