"""The process of a training by itself: nobody is told of it, and nothing reads the environment while accelerate rewrites it."""

import os
import subprocess
import sys

import pytest
import yaml

from pipeline import ROOT
from tests.harness.training import make_recipe

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = pytest.mark.server

NAMES_THREADS = """
import sys, threading
start = threading.Thread.start
threading.Thread.start = lambda thread: (print("thread", thread.name, file=sys.stderr), start(thread))[1]
from train.run import main
sys.exit(main([sys.argv[1], "--json"]))
"""


def test_no_thread_of_a_training_reports_to_a_hub(tiny_model, tmp_path):
    """huggingface_hub's did, and read the environment that accelerate empties and fills again: one training in hundreds fell dead."""
    raw = make_recipe(tmp_path, tiny_model, mode="lora", output={"folder": str(tmp_path / "out"), "samples": 0})
    raw["trainer"] |= {"max_steps": 2}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))
    told = {name: value for name, value in os.environ.items() if not name.startswith(("HF_HUB_", "DO_NOT_TRACK"))}
    command = [sys.executable, "-c", NAMES_THREADS, str(tmp_path / "recipe.yaml")]
    ended = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "telemetry" not in ended.stderr
    # DeepSpeed, where it is installed, remarks on the machine although nobody asked for it.
    assert "[WARNING]" not in ended.stderr
