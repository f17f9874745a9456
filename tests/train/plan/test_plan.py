"""A whole plan: of a recipe, rows and a tokenizer; as data, in words, and as a refusal."""

from dataclasses import replace
from io import StringIO

import orjson
import pytest
from rich.console import Console

from tests.train.plan.conftest import LLAMA_8B, llama, recipe
from train.defaults import Device as TrainingDevice
from train.defaults import trainer_fields
from train.plan import make_plan
from train.plan.device import Device, find_device
from train.plan.words import on_cut, render

ROWS = [{"prompt": f"Name fruit number {n}.", "chosen": "An apple, and so on.", "rejected": "A chair."} for n in range(50)]
CPU, GPU = Device("cpu", "CPU, 2 threads", 16.0, 16.0, flops=5e10), Device("cuda", "a GPU", 7.6, 8.0, flops=1e14)


def plan(tokenizer, rows=ROWS, *, config=None, device=CPU, **asked):
    made = recipe(**asked)
    fields = trainer_fields(made, TrainingDevice(device.kind, True), 256)
    return make_plan(made, fields, rows, tokenizer, config=config or llama(), device=device, ends=[])


def said(plan):
    console = Console(width=160, record=True, file=StringIO())
    for part in render(plan):
        console.print(part, soft_wrap=True, markup=False)
    return console.export_text()


def test_a_plan_counts_what_the_trainer_will_do(tokenizer):
    found = plan(tokenizer, trainer={"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "num_train_epochs": 2})
    assert (found.schedule.rows, found.schedule.rows_a_step, found.schedule.steps) == (50, 12, 10)  # ceil(ceil(50/4)/3) = 5 an epoch
    assert found.refuse() is None
    low, high = found.schedule.seconds
    assert 0 < low < high


def test_max_steps_decides_where_it_is_given(tokenizer):
    found = plan(tokenizer, trainer={"max_steps": 7})
    assert found.schedule.steps == 7


@pytest.mark.server
def test_the_steps_are_those_of_transformers(tokenizer, tiny_model, tmp_path):
    import datasets
    import trl

    fields = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "num_train_epochs": 1}
    found = plan(tokenizer, trainer=fields)
    args = trl.DPOConfig(str(tmp_path), report_to="none", use_cpu=True, bf16=False, save_strategy="no", logging_steps=100, **fields)
    trainer = trl.DPOTrainer(str(tiny_model), args=args, train_dataset=datasets.Dataset.from_list(ROWS))
    trainer.train()
    assert trainer.state.max_steps == found.schedule.steps == 5


@pytest.mark.parametrize("method", ["dpo", "sft", "kto", "reward", "orpo"])
@pytest.mark.parametrize("mode", ["qlora", "lora", "full"])
def test_every_method_and_mode_has_a_plan_in_words_and_as_data(tokenizer, method, mode):
    row = {"prompt": "Name a fruit.", "completion": "An apple.", "label": True}
    rows = ROWS if method in ("dpo", "reward", "orpo") else [row] * 20
    found = plan(tokenizer, rows, method=method, mode=mode)
    assert orjson.loads(orjson.dumps(found.as_json()))["refused"] is None
    assert f"{method} in mode {mode}" in said(found)
    assert found.memory.needed >= found.memory.allocated > 0


def test_what_does_not_fit_is_refused_with_what_would(tokenizer):
    found = plan(tokenizer, config=llama(**LLAMA_8B), device=GPU, mode="lora")
    why = found.refuse()
    assert "GiB needed for lora" in why
    assert "7.4 free on a GPU" in why
    assert "mode: qlora" in why
    assert "This training would be refused" in said(found)


def test_an_8b_model_on_a_cpu_is_refused(tokenizer):
    assert "no GPU here" in plan(tokenizer, config=llama(**LLAMA_8B), device=replace(CPU, free=500.0)).refuse()


def test_rows_that_are_all_too_long_are_refused_with_a_length(tokenizer):
    rows = [{**row, "prompt": row["prompt"] * 20} for row in ROWS]
    found = plan(tokenizer, rows, trainer={"max_length": 16})
    assert "every row" in found.refuse()
    assert f"trainer.max_length: {found.lengths.suggestion}" in found.refuse()
    assert "reward" not in found.refuse()


def test_an_empty_dataset_is_refused(tokenizer):
    assert "no row" in plan(tokenizer, []).refuse()


def test_what_is_cut_is_said_with_rows_tokens_and_a_way_out(tokenizer):
    rows = [*ROWS, {**ROWS[0], "chosen": "An apple. " * 40}]
    found = plan(tokenizer, rows, trainer={"max_length": 64})
    text = on_cut(found.lengths, "dpo")
    assert "cuts the end of an answer in 1 rows" in text
    assert f"{found.lengths.cut.lost} tokens lost" in text
    assert text in said(found)


def test_a_conversation_without_a_template_is_refused_before_it_is_counted(tokenizer):
    import copy

    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    talk = {"prompt": [{"role": "user", "content": "Hello"}], "chosen": [{"role": "assistant", "content": "a"}]}
    rows = [{**talk, "rejected": [{"role": "assistant", "content": "b"}]}]
    assert "no chat template" in plan(bare, rows).refuse()


def test_the_device_at_hand_is_found_and_measured():
    found = find_device()
    assert 0 < found.free <= found.total
    assert found.flops > 1e8


@pytest.mark.server
@pytest.mark.parametrize(("method", "mode"), [("dpo", "lora"), ("sft", "full")])
def test_the_seconds_foreseen_are_those_of_a_training_on_this_machine_within_a_factor_of_three(method, mode, tiny_model, tmp_path):
    from tests.harness.training import make_recipe
    from train.asked import ask
    from train.run import train
    from train.watch import read_log

    trainer = {"max_steps": 30, "per_device_train_batch_size": 8, "bf16": False}
    raw = make_recipe(tmp_path, tiny_model, method=method, mode=mode, trainer=trainer)
    schedule = ask(raw).plan.schedule
    train(raw)

    steps = [row["seconds"] for row in read_log(tmp_path / "out" / "log.jsonl") if "loss" in row]
    low, high = schedule.seconds
    assert schedule.tried
    foreseen, took = (low * high) ** 0.5, (steps[-1] - steps[0]) * 30 / 29
    assert took / 3 < foreseen < took * 3, (low, high, took)


def test_a_device_that_is_not_this_one_is_not_tried(tokenizer):
    assert not plan(tokenizer).schedule.tried
