"""What a training recipe may say, and the sentence where it says something else."""

import pytest

from pipeline import ROOT
from pipeline.errors import EngineError, InputError, RecipeError, RunError
from tests.harness.training import make_recipe, make_rows, write_rows
from train.defaults import Device, trainer_fields
from train.settings import check_train_recipe, read_train_recipe

CPU, GPU = Device("cpu", bf16=False), Device("cuda", bf16=True)


def recipe(tmp_path, **changes):
    return check_train_recipe(make_recipe(tmp_path, tmp_path, **changes))


@pytest.mark.parametrize("file", sorted((ROOT / "train" / "recipes").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_recipe_of_ours_is_right_and_names_its_source(file):
    checked = check_train_recipe(read_train_recipe(f"train/recipes/{file.name}"))

    assert checked.name == file.stem
    assert "\n# Source: " in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted((ROOT / "train" / "recipes").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_recipe_of_ours_has_only_fields_that_trl_knows(file):
    pytest.importorskip("trl")
    from train.arguments import settled_fields

    checked = check_train_recipe(read_train_recipe(f"train/recipes/{file.name}"))
    assert settled_fields(checked, GPU, None)["learning_rate"] == checked.trainer["learning_rate"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methd": "dpo"}, "unknown key 'methd' in the recipe; did you mean 'method'?"),
        ({"method": "ppo"}, "method: found 'ppo'"),
        ({"adapter": {"rnk": 8}}, "did you mean 'rank'?"),
        ({"reference": "model"}, "give both or neither"),
        ({"method": "sft", "reference": "precomputed"}, "method sft has no reference model"),
        ({"mode": "full", "output": {"merge": True}}, "knows no adapter"),
        ({"label_error": 0.6}, "label_error: found 0.6"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(changes, said, tmp_path):
    with pytest.raises(RecipeError, match=said.replace("?", r"\?")):
        recipe(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainer": {"learnin_rate": 1}}, "did you mean 'learning_rate'?"),
        ({"trainer": {"zzqqxx": 1}}, "TRL's documentation"),
        ({"trainer": {"output_dir": "x"}}, "use `output.folder`"),
        ({"trainer": {"trust_remote_code": True}}, "never run"),
        ({"trainer": {"learning_rate": "fast"}}, "wanted a number"),
        ({"trainer": {"bf16": "yes"}}, "wanted true or false"),
        ({"trainer": {"max_length": 1024}}, "reads at most 512 tokens"),
        ({"trainer": {"loss_type": "sigmod"}}, "did you mean 'sigmoid'?"),
        ({"label_error": 0.1}, "label_error has no effect in the loss sigmoid"),
        ({"trainer": {"label_smoothing": 0.1}}, "trainer.label_smoothing has no effect"),
        ({"trainer": {"loss_type": "exo_pair"}}, "needs a label smoothing above 0"),
        ({"method": "kto", "label_error": 0.1}, "cannot take the judge's error"),
        ({"method": "reward", "mode": "lora", "trainer": {"bf16": False}}, "set model.dtype float32"),
        ({"method": "kto", "trainer": {"per_device_train_batch_size": 1}}, "set 2 or more"),
    ],
)
def test_a_field_that_trl_would_misread_is_one_sentence(changes, said, tmp_path):
    pytest.importorskip("trl")
    from train.arguments import settled_fields

    with pytest.raises(RecipeError) as error:
        settled_fields(recipe(tmp_path, **changes), CPU, 512)
    assert said in str(error.value)


def test_the_judges_error_becomes_label_smoothing_where_the_loss_has_one(tmp_path):
    pytest.importorskip("trl")
    from train.arguments import settled_fields

    fields = settled_fields(recipe(tmp_path, label_error=0.08, trainer={"loss_type": ["robust", "sft"]}), CPU, 512)

    assert fields["label_smoothing"] == 0.08


def test_the_losses_with_label_smoothing_are_those_in_which_trl_reads_it():
    import inspect
    import re

    trainer = pytest.importorskip("trl.trainer.dpo_trainer").DPOTrainer
    from train.methods.dpo import LOSSES, SMOOTHED

    branches = re.split(r'(?:el)?if loss_type == "(\w+)":', inspect.getsource(trainer._compute_loss))[1:]
    found = dict(zip(branches[::2], branches[1::2], strict=True))
    assert set(found) == set(LOSSES)
    assert {name for name, code in found.items() if "label_smoothing" in code} == set(SMOOTHED)


def test_rates_hang_on_method_and_mode_and_what_is_written_wins(tmp_path):
    rates = {mode: trainer_fields(recipe(tmp_path, mode=mode), GPU)["learning_rate"] for mode in ("full", "lora", "qlora")}

    assert rates["qlora"] == rates["lora"] == 10 * rates["full"]
    assert trainer_fields(recipe(tmp_path, trainer={"learning_rate": 3}), GPU)["learning_rate"] == 3
    assert trainer_fields(recipe(tmp_path), GPU)["optim"] == "paged_adamw_8bit"
    assert trainer_fields(recipe(tmp_path), CPU)["optim"] == "adamw_torch"
    assert not trainer_fields(recipe(tmp_path), CPU)["bf16"]


@pytest.mark.server
@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"model": {"path": "no/such/model/here"}}, RecipeError, "no model folder"),
        ({"adapter": {"targets": ["q_prj"]}}, RecipeError, "did you mean 'q_proj'?"),
        ({"adapter": {"targets": ["lm_head"]}}, RecipeError, "lm_head"),
        ({"trainer": {"max_length": 8}}, RecipeError, "set trainer.max_length: 64"),
        (
            {"trainer": {"lr_scheduler_kwargs": {"num_cycle": 2}}},
            RecipeError,
            "trainer.lr_scheduler_kwargs: nothing there takes 'num_cycle'",
        ),
        ({"output": {"push": "a/b"}}, RecipeError, "HF_TOKEN is not set"),
        ({"stop": {"metric": "eval_los", "evaluations": 1}}, RecipeError, "did you mean 'eval_loss'?"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(changes, error, said, tiny_model, tmp_path, monkeypatch):
    from train.run import train

    monkeypatch.delenv("HF_TOKEN", raising=False)
    model = changes.pop("model", {"path": str(tiny_model)})
    with pytest.raises(error) as raised:
        train({**make_recipe(tmp_path, tiny_model, **changes), "model": model})
    assert said in str(raised.value)


@pytest.mark.server
def test_messages_and_a_tokenizer_without_a_template_are_one_sentence(tiny_model, tmp_path):
    import shutil

    from train.run import train

    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="has no chat template"):
        train(make_recipe(tmp_path, bare))
    write_rows(tmp_path / "rows.jsonl", make_rows())
    assert train(make_recipe(tmp_path, bare))["steps"] == 3


@pytest.mark.server
def test_weights_that_are_no_safetensors_are_one_sentence(tiny_model, tmp_path):
    import shutil

    from train.run import train

    empty = tmp_path / "empty"
    shutil.copytree(tiny_model, empty)
    (empty / "model.safetensors").unlink()
    with pytest.raises(EngineError, match="safetensors"):
        train(make_recipe(tmp_path, empty))


@pytest.mark.server
def test_a_full_disk_is_one_sentence(tiny_model, tmp_path, monkeypatch):
    from collections import namedtuple

    from train import output
    from train.run import train

    monkeypatch.setattr(output.shutil, "disk_usage", lambda path: namedtuple("Usage", "total used free")(10**9, 10**9, 1000))
    with pytest.raises(RunError, match="make room"):
        train(make_recipe(tmp_path, tiny_model))


@pytest.mark.server
def test_a_mistake_of_ours_is_not_blamed_on_the_recipe(tiny_model, tmp_path, monkeypatch):
    from train.methods import dpo
    from train.run import train

    monkeypatch.setattr(dpo, "make", lambda parts: dict(2))
    with pytest.raises(TypeError, match="'int' object is not iterable"):
        train(make_recipe(tmp_path, tiny_model))
