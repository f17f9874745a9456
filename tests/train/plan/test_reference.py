"""A reference that takes memory of its own: the adapter that training goes on from, and a second model."""

from dataclasses import replace

import pytest

from tests.harness.training import make_recipe
from tests.train.plan.conftest import SMALL, llama, sizes
from train.base import load_config
from train.plan.fits import judge_fit
from train.plan.memory import GIB, Load, estimate

LOAD = Load("dpo", "lora", batch=2, length=512, optimizer="adamw_torch", reference="adapter_off")


def test_a_reference_of_another_size_weighs_what_it_weighs(of_8b, of_70b):
    copy = replace(LOAD, reference="copy")
    own, larger = estimate(of_8b, copy), estimate(of_8b, replace(copy, other=of_70b))
    assert own.reference * GIB == 2 * of_8b.parameters
    assert larger.reference * GIB == 2 * of_70b.parameters
    assert larger.weights == own.weights
    assert larger.needed > own.needed + larger.reference - own.reference


def test_a_second_model_goes_along_into_another_mode_and_is_not_offered_away(of_8b):
    from train.plan.device import Device

    load = replace(LOAD, mode="full", width=4, reference="copy", other=of_8b)
    offers = judge_fit(of_8b, load, Device("cuda", "a GPU", 60.0, 80.0)).offers
    assert offers
    assert not any("reference" in offer.changes for offer in offers)
    of_one = estimate(of_8b, replace(load, other=None, reference="adapter_off", mode="lora", width=2)).needed
    lora = [offer.needed for offer in offers if offer.changes.get("mode") == "lora"]
    assert all(needed > of_one for needed in lora)


def test_a_reference_of_another_size_takes_another_time():
    from train.plan.schedule import _as_ours

    small, large = sizes(), sizes({**SMALL, "num_hidden_layers": 12})
    copy = replace(LOAD, reference="copy")
    assert _as_ours(small, replace(copy, other=small)) == _as_ours(small, copy)
    assert _as_ours(small, replace(copy, other=large)) > _as_ours(small, copy) + 1


@pytest.mark.server
@pytest.mark.parametrize("mode", ["lora", "qlora"])
def test_the_plan_counts_the_reference_that_trl_keeps_beside_an_adapter_that_is_trained_on(mode, tiny_model, tmp_path):
    from tests.harness.vllm import make_adapter
    from train.asked import ask
    from train.learn import make_trainer
    from train.lengths import fit

    make_adapter(tiny_model, tmp_path / "start")
    raw = make_recipe(tmp_path, tiny_model, mode=mode, adapter={"start": str(tmp_path / "start"), "rank": 64})
    asked = ask(raw)
    model = make_trainer(asked, fit(asked.data, asked.recipe, asked.tokenizer, 128), []).model

    kept = sum(p.numel() * p.element_size() for name, p in model.named_parameters() if ".ref." in name)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert asked.plan.memory.reference * GIB == kept > 0
    assert asked.plan.sizes.adapter == trained, "the rank of the adapter holds, not the recipe's"


def test_the_adapter_that_training_goes_on_from_is_the_one_whose_time_is_taken(tmp_path, tiny_model):
    """Not a new one of the recipe's rank and targets, which nothing would train."""
    from tests.harness.vllm import make_adapter
    from train.plan.timing import make_model
    from train.settings import check_train_recipe

    make_adapter(tiny_model, tmp_path / "start", rank=3)
    given = {"start": str(tmp_path / "start"), "rank": 64, "targets": ["q_proj"]}
    recipe = check_train_recipe(make_recipe(tmp_path, tiny_model, mode="lora", adapter=given))
    trained = {n: p for n, p in make_model(recipe, load_config(recipe.model), LOAD).named_parameters() if p.requires_grad}
    assert {min(p.shape) for p in trained.values()} == {3}
    assert any("down_proj" in name for name in trained)


def test_the_plan_reads_the_size_of_the_recipes_reference_model(tokenizer, tiny_model, tmp_path):
    from train.plan import make_plan
    from train.plan.device import Device
    from train.settings import check_train_recipe

    other = llama(num_hidden_layers=9)
    other.save_pretrained(tmp_path / "other")
    raw = make_recipe(tmp_path, tiny_model, mode="lora", reference="model", reference_model=str(tmp_path / "other"))
    raw["adapter"] = {"targets": ["q_proj"]}
    device = Device("cpu", "CPU", 16.0, 16.0, flops=5e10)
    plan = make_plan(check_train_recipe(raw), {"max_length": 128}, [], tokenizer, device=device, ends=[])
    assert plan.memory.reference * GIB == 2 * sizes({**SMALL, "num_hidden_layers": 9}).parameters
