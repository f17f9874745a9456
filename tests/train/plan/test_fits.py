"""What does not fit is refused with settings that do, and each of them does."""

import re
from dataclasses import replace

import pytest

from train.plan.device import Device, Spread, find_spread, free_gib, total_gib
from train.plan.fits import hopeless, judge_fit, largest_batch
from train.plan.memory import Load, estimate

LOAD = Load("dpo", "lora", batch=8, length=1024, optimizer="paged_adamw_8bit", reference="adapter_off", scored=1024)


def gpu(free):
    return Device("cuda", "a GPU", free, 24.0)


def test_the_largest_batch_fits_and_one_more_does_not(of_8b):
    for room in (20.0, 24.0, 40.0, 80.0):
        batch = largest_batch(of_8b, LOAD, room)
        assert estimate(of_8b, replace(LOAD, batch=batch)).needed <= room
        assert estimate(of_8b, replace(LOAD, batch=batch + 1)).needed > room


def test_what_fits_is_offered_nothing_else(of_8b):
    fit = judge_fit(of_8b, LOAD, gpu(80.0))
    assert fit.fits
    assert fit.offers == ()
    assert fit.largest_batch >= 8


@pytest.mark.parametrize("free", [8.0, 12.0, 18.0])
def test_every_offer_fits(of_8b, free):
    fit = judge_fit(of_8b, LOAD, gpu(free))
    assert not fit.fits
    assert fit.offers
    for offer in fit.offers:
        assert offer.needed <= fit.room
        assert re.search(r"needs \d+\.\d$", str(offer))


def test_a_smaller_batch_is_offered_before_another_mode_and_steps_stay_as_large(of_8b):
    enough = estimate(of_8b, replace(LOAD, batch=2)).needed / 0.97 + 0.01
    first = judge_fit(of_8b, LOAD, gpu(enough)).offers[0].changes
    assert first["trainer.per_device_train_batch_size"] * first["trainer.gradient_accumulation_steps"] == 8
    assert "mode" not in first


def test_full_training_that_is_far_too_large_is_offered_an_adapter(of_8b):
    load = replace(LOAD, mode="full", width=4, reference="copy")
    offers = judge_fit(of_8b, load, gpu(12.0)).offers
    assert offers[0].changes["mode"] == "qlora"


def test_kto_is_never_offered_a_batch_of_one(of_8b):
    load = replace(LOAD, method="kto", batch=8)
    for free in (6.5, 7.0, 8.0, 10.0, 16.5):
        offers = judge_fit(of_8b, load, gpu(free)).offers
        assert all(o.changes.get("trainer.per_device_train_batch_size", 8) != 1 for o in offers)


def test_what_fits_nowhere_gets_no_offer(of_70b):
    assert judge_fit(of_70b, LOAD, gpu(8.0)).offers == ()


def test_an_8b_model_without_a_gpu_is_hopeless(of_8b):
    cpu = Device("cpu", "CPU", 900.0, 1000.0)
    assert "no GPU" in (hopeless(of_8b, cpu) or "")
    assert hopeless(of_8b, gpu(1.0)) is None


def test_main_memory_is_what_this_container_may_take():
    assert 0 < free_gib() <= total_gib()


@pytest.mark.parametrize(
    ("fields", "environment", "spread"),
    [
        ({}, {}, Spread()),
        ({}, {"WORLD_SIZE": "4"}, Spread(4)),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, {"WORLD_SIZE": "8"}, Spread(8, "weights", "deepspeed")),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, {"WORLD_SIZE": "2"}, Spread(2, "gradients", "deepspeed")),
        ({"fsdp": "full_shard auto_wrap"}, {"WORLD_SIZE": "2"}, Spread(2, "weights", "fsdp")),
        ({"fsdp": "shard_grad_op"}, {"WORLD_SIZE": "2"}, Spread(2, "gradients", "fsdp")),
        (
            {},
            {"WORLD_SIZE": "4", "ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"},
            Spread(4, "weights", "deepspeed"),
        ),
        ({}, {"WORLD_SIZE": "4", "ACCELERATE_USE_FSDP": "true"}, Spread(4, "weights", "fsdp")),
    ],
)
def test_how_a_training_is_divided_is_read_from_the_trainer_or_the_launcher(fields, environment, spread):
    assert find_spread(fields, environment) == spread
