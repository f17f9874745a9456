"""A training that was killed goes on from its last checkpoint; one of another recipe, or on other data, does not."""

import os
import signal
import subprocess
import sys

import orjson
import pytest
import yaml

from pipeline import ROOT
from pipeline.errors import RunError
from tests.harness.training import as_messages, make_recipe, make_rows, write_rows
from tests.harness.waiting import wait_for
from train.output import Output
from train.watch import read_log

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = pytest.mark.server

STEPS = 40


def command(recipe, *options):
    return [sys.executable, "-m", "train.run", str(recipe), *options]


def write_recipe(folder, model):
    trainer = {"max_steps": STEPS, "save_steps": 4, "eval_steps": 4}
    raw = make_recipe(folder, model, trainer=trainer, stop={"patience": None}, output={"folder": str(folder / "out"), "samples": 2})
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw))
    return folder / "recipe.yaml"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill-9", "ctrl-c"])
def test_a_training_that_was_stopped_goes_on_and_ends_where_it_should(how, tiny_model, tmp_path):
    recipe, out = write_recipe(tmp_path, tiny_model), Output(tmp_path / "out")
    process = subprocess.Popen(command(recipe), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: out.last_checkpoint(mend=False), process=process, pause=0.02)
    os.kill(process.pid, how)
    _, said = process.communicate(timeout=120)
    assert process.returncode == (130 if how == signal.SIGINT else -9)
    if how == signal.SIGINT:
        assert "run the same command again to go on from there" in said
        assert "Traceback" not in said
    assert out.manifest() is None
    assert not out.path.joinpath("adapter").exists()

    done = subprocess.run(command(recipe, "--json"), cwd=ROOT, capture_output=True, text=True, check=True)
    summary = orjson.loads(done.stdout)

    assert summary["steps"] == STEPS
    assert 4 <= summary["resumed_at"] < STEPS
    steps = [row["step"] for row in read_log(out.log) if "loss" in row]
    assert steps == list(range(1, STEPS + 1)), "a step is missing in the log, or stands there twice"
    samples = [row["step"] for row in read_log(out.samples)]
    assert samples == sorted(samples)
    assert samples.count(0) == 2

    again = subprocess.run(command(recipe, "--json"), cwd=ROOT, capture_output=True, text=True, check=True)
    assert orjson.loads(again.stdout)["unchanged"] is True


def test_a_half_written_checkpoint_is_not_gone_on_from(tmp_path):
    out = Output(tmp_path)
    for step, state in ((4, '{"global_step": 4}'), (8, '{"global_st'), (12, None)):
        folder = out.checkpoints / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if state is not None:
            (folder / "trainer_state.json").write_text(state)

    assert out.last_checkpoint().name == "checkpoint-4"
    assert [p.name for p in out.checkpoints.iterdir()] == ["checkpoint-4"]


def test_another_recipe_and_other_data_want_another_folder(tiny_model, tmp_path):
    raw = make_recipe(tmp_path, tiny_model)
    out = Output(tmp_path / "out")
    out.begin(raw, {"data": {"version": "1"}})
    out.begin({**raw, "report_to": ["wandb"]}, {"data": {"version": "1"}})

    with pytest.raises(RunError, match=r"trainer\.max_steps changed"):
        out.begin({**raw, "trainer": {**raw["trainer"], "max_steps": 9}}, {"data": {"version": "1"}})
    with pytest.raises(RunError, match=r"what `data\.version` holds changed"):
        out.begin(raw, {"data": {"version": "2"}})
    with pytest.raises(RunError, match="holds no training"):
        Output(tmp_path).begin(raw, {})


def test_two_trainings_do_not_share_a_folder(tmp_path):
    with Output(tmp_path).locked(), pytest.raises(RunError, match="another process is training"), Output(tmp_path).locked():
        pass


def test_a_training_goes_on_from_another_ones_adapter_if_it_is_of_the_same_base(tiny_model, tmp_path):
    from pipeline.errors import RecipeError
    from tests.harness.tiny_model import make_tiny_chat_model
    from train.run import train

    write_rows(tmp_path / "rows.jsonl", [as_messages(row) for row in make_rows()])
    first = train(make_recipe(tmp_path, tiny_model, method="sft"))
    start = {"start": str(tmp_path / "out" / "adapter")}
    second = make_recipe(tmp_path, tiny_model, adapter=start, output={"folder": str(tmp_path / "second"), "merge": True, "samples": 0})

    summary = train(second)

    assert first["steps"] == summary["steps"] == 3
    assert not (tmp_path / "second" / "adapter" / "ref").exists()
    assert summary["merged"]["mean_nats"] < 0.02
    other = make_tiny_chat_model(tmp_path / "other", seed=1)
    with pytest.raises(RecipeError, match="give the model it was made for"):
        train(make_recipe(tmp_path, other, adapter=start, output={"folder": str(tmp_path / "third")}))
    with pytest.raises(RecipeError, match="is an adapter and not a model"):
        train(make_recipe(tmp_path, tmp_path / "out" / "adapter", output={"folder": str(tmp_path / "fourth")}))
