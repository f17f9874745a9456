"""Trainings that really go wrong, each as a process: stopped with a sentence, and nothing of them is kept as a result."""

import subprocess
import sys

import pytest
import yaml

from pipeline import ROOT
from tests.harness.training import make_recipe
from train.output import Output
from train.samples import goes_in_circles
from train.watch import read_log

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = pytest.mark.server


def trained(folder, model, *, samples=0, **changes):
    """What a process says that is to train 30 steps; its code, its words, its folder."""
    raw = make_recipe(folder, model, output={"folder": str(folder / "out"), "samples": samples}, **changes)
    raw["trainer"] |= {"max_steps": 30, "eval_steps": 5, "save_steps": 5}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw))
    command = [sys.executable, "-m", "train.run", str(folder / "recipe.yaml"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    return done, Output(folder / "out")


def is_stopped(done, out):
    said = done.stderr.splitlines()
    assert (done.returncode, done.stdout, len(said)) == (2, "", 1), done.stderr
    assert said[0].startswith("pairsmith: ")
    assert said[0].endswith("start in another folder (--set output.folder=…)")
    assert out.manifest() is None
    assert not (out.path / "adapter").exists()
    assert not (out.path / "model").exists()
    return said[0]


def test_chosen_answers_that_are_unlearned_stop_a_training(tiny_model, tmp_path):
    # A loss that lowers both sides, at a rate of a tenth.
    trainer = {"loss_type": "apo_down", "learning_rate": 0.1}
    said = is_stopped(*(ended := trained(tmp_path, tiny_model, mode="lora", trainer=trainer)))

    assert "the chosen answers have fallen by " in said
    rewards = [row["rewards/chosen"] for row in read_log(ended[1].log) if "rewards/chosen" in row]
    assert 1 < len(rewards) < 30
    assert rewards[-1] < min(rewards[:-1]), "it stopped where it had fallen furthest, which the log shows"


def test_answers_that_go_in_circles_stop_a_training(tiny_model, tmp_path):
    ended = trained(tmp_path, tiny_model, samples=4, method="sft", mode="full", trainer={"learning_rate": 1.0, "warmup_steps": 0})
    said = is_stopped(*ended)

    assert "% of the sample answers go in circles at step " in said
    rows = read_log(ended[1].samples)
    last = rows[-1]["step"]
    assert [any(goes_in_circles(row["answer"]) for row in rows if row["step"] == step) for step in (0, last)] == [False, True]


def test_a_loss_that_is_no_number_stops_a_training(tiny_model, tmp_path):
    said = is_stopped(*trained(tmp_path, tiny_model, mode="full", trainer={"learning_rate": 1e20}))

    assert "is nan at step " in said


def test_a_layer_that_is_trained_whole_beside_a_base_in_16_bits_answers_too(tiny_model, tmp_path):
    """It is held in 32 bits, and what it hands on met weights in 16: samples asked outside autocast ended in a traceback."""
    done, out = trained(tmp_path, tiny_model, samples=2, mode="lora", adapter={"rank": 4, "alpha": 8, "modules_to_save": ["norm"]})
    assert done.returncode == 0, done.stderr
    assert len(read_log(out.samples)) > 2
