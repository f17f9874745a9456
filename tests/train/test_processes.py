"""Two processes that train together, on CPUs: what one alone would train, one output, and stopping and going on as for one."""

import orjson
import pytest
import yaml

from tests.harness.launching import difference, launch, stop_after_a_checkpoint, write_recipe
from train.output import Output
from train.watch import read_log

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = pytest.mark.server

STEPS = 30


@pytest.mark.timeout(400)
def test_two_processes_train_what_one_would_and_go_on_after_a_stop(tiny_model, tmp_path):
    from train.run import train

    def recipe_of(name, batch):
        return write_recipe(tmp_path, name, tiny_model, batch, STEPS, every=6, mode="lora")

    recipe, out = recipe_of("two", 4), Output(tmp_path / "two")
    asked = stop_after_a_checkpoint(launch(recipe, "fsdp"), out, 150, ending=60)
    assert out.last_checkpoint(mend=False).name == f"checkpoint-{asked}"

    ended = launch(recipe, "fsdp")
    summary, said = ended.communicate(timeout=150)
    assert ended.returncode == 0, said
    assert summary.count("\n") == 1, "one of them says it"
    assert orjson.loads(summary)["resumed_at"] == asked
    steps = [row["step"] for row in read_log(out.log) if "loss" in row]
    assert steps == list(range(1, STEPS + 1)), "each step stands in the log, once"

    alone = train(yaml.safe_load(recipe_of("one", 8).read_text()))
    assert alone["metrics"]["eval_loss"] == pytest.approx(orjson.loads(summary)["metrics"]["eval_loss"], rel=1e-3)
    assert difference(*(tmp_path / name / "adapter" / "adapter_model.safetensors" for name in ("one", "two"))) < 1e-4
