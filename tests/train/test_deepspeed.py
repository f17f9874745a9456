"""DeepSpeed's ZeRO-3, with two processes on CPUs: what one process alone would train, saved whole, and gone on with after a stop."""

from importlib.util import find_spec

import orjson
import pytest
import yaml

from tests.harness.launching import difference, launch, stop_after_a_checkpoint, write_recipe
from train.output import Output
from train.watch import read_log

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed: make test does"),
]

STEPS = 12


def recipe_of(folder, name, model, mode, batch, reference="adapter_off"):
    # DeepSpeed holds all weights in one precision; in bf16, adapters beside it would round otherwise.
    return write_recipe(folder, name, model, batch, STEPS, every=3, dtype="float32", mode=mode, reference=reference)


def start(recipe):
    return launch(recipe, "zero3", "--mixed_precision", "no", DS_ACCELERATOR="cpu")


def finish(launched):
    """The summary of a training that ends by itself; DeepSpeed's own words on stdout are left out."""
    summary, said = launched.communicate(timeout=300)
    assert launched.returncode == 0, said
    return orjson.loads(next(line for line in summary.splitlines() if line.startswith("{")))


def trained_alone(folder, model, mode):
    from train.run import train

    return train(yaml.safe_load(recipe_of(folder, "one", model, mode, batch=8).read_text()))


@pytest.mark.timeout(900)
def test_divided_weights_learn_what_whole_ones_do_and_go_on_after_a_stop(tiny_model, tmp_path):
    recipe, out = recipe_of(tmp_path, "two", tiny_model, "lora", batch=4), Output(tmp_path / "two")
    asked = stop_after_a_checkpoint(start(recipe), out, 300, ending=120)

    summary = finish(start(recipe))
    assert summary["resumed_at"] == asked
    assert [row["step"] for row in read_log(out.log) if "loss" in row] == list(range(1, STEPS + 1))
    assert trained_alone(tmp_path, tiny_model, "lora")["metrics"]["eval_loss"] == pytest.approx(summary["metrics"]["eval_loss"], rel=1e-3)
    assert difference(*(tmp_path / name / "adapter" / "adapter_model.safetensors" for name in ("one", "two"))) < 1e-4


@pytest.mark.timeout(600)
def test_a_divided_model_is_saved_whole_and_its_reference_computed_beforehand(tiny_model, tmp_path):
    summary = finish(start(recipe_of(tmp_path, "two", tiny_model, "full", batch=4, reference="precomputed")))
    # The one process has its reference beside it: both ways must come to the same weights.
    alone = trained_alone(tmp_path, tiny_model, "full")
    assert alone["metrics"]["eval_loss"] == pytest.approx(summary["metrics"]["eval_loss"], rel=1e-3)
    assert difference(*(tmp_path / name / "model" / "model.safetensors" for name in ("one", "two"))) < 1e-4
