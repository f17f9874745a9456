"""The mean of several trainings: exactly that, made of members that are whole, and gone on with where it was stopped."""

import shutil

import pytest

from pipeline.errors import RecipeError
from tests.harness.training import make_recipe
from train.output import Output
from train.settings import check_train_recipe
from train.watch import read_log

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = pytest.mark.server

ADAPTER = {"rank": 4, "alpha": 8, "average": 3, "modules_to_save": ["norm"]}


def recipe(folder, model, **changes):
    return make_recipe(folder, model, adapter=ADAPTER, mode="lora", trainer={"learning_rate": 1e-2}, **changes)


def exactly(raw):
    """In 32 bits throughout."""
    raw["model"]["dtype"], raw["trainer"]["bf16"] = "float32", False
    return raw


def run(raw):
    from train.run import train

    return train(raw)


def weights(model, adapter):
    """The whole model's, with an adapter merged in."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().state_dict()


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("average")
    raw = recipe(folder, tiny_model)
    return raw, run(raw), Output(folder / "out")


def test_what_comes_out_is_the_mean_of_what_the_members_learned(trained, tiny_model):
    _, summary, out = trained
    members = [weights(tiny_model, out.path / "members" / str(n) / "adapter") for n in range(3)]
    mean = weights(tiny_model, out.path / "adapter")
    apart = {name: torch.stack([m[name] for m in members]).mean(dim=0) - value for name, value in mean.items()}
    assert max(float(d.abs().max()) for d in apart.values()) < 1e-6
    # Each learned something of its own.
    assert max(float((members[0][name] - members[1][name]).abs().max()) for name in mean) > 1e-4
    assert summary["steps"] == 9
    assert summary["metrics"]["eval_loss"] > 0
    assert [row["step"] for row in read_log(out.log) if "loss" in row] == list(range(1, 10))
    assert not [f for f in out.path.rglob("*") if f.suffix in (".bin", ".pt", ".pkl")]
    assert "mean of trainings, each of another seed | 3" in (out.path / "README.md").read_text()


def test_what_is_said_of_it_was_measured_of_the_mean(tiny_model, tmp_path):
    """A training that begins where the mean is and learns nothing says the same."""
    said = run(exactly(recipe(tmp_path, tiny_model, method="sft")))["metrics"]
    still = {"max_steps": 1, "learning_rate": 0.0, "weight_decay": 0.0}
    begun = {"start": str(tmp_path / "out" / "adapter")}
    on = {"folder": str(tmp_path / "on"), "samples": 0}
    raw = make_recipe(tmp_path, tiny_model, method="sft", mode="lora", adapter=begun, trainer=still, output=on)
    assert said["eval_loss"] == pytest.approx(run(exactly(raw))["metrics"]["eval_loss"], rel=1e-5)
    members = [Output(tmp_path / "out" / "members" / str(n)).manifest()["metrics"]["eval_loss"] for n in range(3)]
    assert all(said["eval_loss"] != pytest.approx(loss, rel=1e-5) for loss in members)


def test_only_the_member_that_is_missing_is_trained_again(trained):
    raw, summary, out = trained
    assert run(raw)["unchanged"]
    kept = {n: (out.path / "members" / str(n) / "manifest.json").stat().st_mtime_ns for n in (0, 2)}
    adapter = (out.path / "adapter" / "adapter_model.safetensors").read_bytes()
    for gone in ("manifest.json", "members/1/manifest.json"):
        (out.path / gone).unlink()
    for gone in ("adapter", "members/1/adapter"):
        shutil.rmtree(out.path / gone)
    again = run(raw)
    assert again["metrics"]["eval_loss"] == summary["metrics"]["eval_loss"]
    assert (out.path / "adapter" / "adapter_model.safetensors").read_bytes() == adapter
    assert {n: (out.path / "members" / str(n) / "manifest.json").stat().st_mtime_ns for n in (0, 2)} == kept


def test_the_plan_counts_every_training(tiny_model, tmp_path):
    from train.asked import ask
    from train.plan.words import on_schedule

    plan = ask(recipe(tmp_path, tiny_model)).plan
    assert on_schedule(plan.schedule).startswith("3 trainings of 3 steps")
    once = plan.schedule.repeated(1)
    assert once.repeated(3).seconds == tuple(3 * s for s in once.seconds)


@pytest.mark.parametrize("changes", [{"mode": "full", "adapter": {"average": 2}}, {"adapter": {"average": 2, "start": "somewhere"}}])
def test_what_has_no_new_adapters_has_no_mean(changes, tmp_path):
    with pytest.raises(RecipeError, match=r"adapter\.average is the mean of new adapters"):
        check_train_recipe(make_recipe(tmp_path, tmp_path, **changes))
