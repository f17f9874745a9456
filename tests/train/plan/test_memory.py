"""The memory that the plan foresees, beside the figures of FACTS, beside what autograd keeps, and beside a real training."""

import contextlib
from dataclasses import replace

import pytest

from tests.train.plan.conftest import SMALL, llama, sizes
from train.plan.memory import GIB, Load, estimate

LOAD = Load("dpo", "qlora", batch=2, length=512, optimizer="adamw_torch", reference="adapter_off")


def lasting(sizes, mode):
    """Weights, gradients and optimiser states, as people count them."""
    memory = estimate(sizes, replace(LOAD, mode=mode, width=4 if mode == "full" else 2))
    return memory.weights + memory.gradients + memory.optimizer


@pytest.mark.parametrize(("mode", "gib"), [("full", 119.7), ("lora", 15.6), ("qlora", 5.6)])
def test_an_8b_model_takes_what_it_is_known_to_take(of_8b, mode, gib):
    assert lasting(of_8b, mode) == pytest.approx(gib, abs=0.05)


@pytest.mark.parametrize(("mode", "gib"), [("full", 1051), ("lora", 134), ("qlora", 38)])
def test_a_70b_model_takes_what_it_is_known_to_take(of_70b, mode, gib):
    assert lasting(of_70b, mode) == pytest.approx(gib, abs=0.6)


def kept_for_backward(layers, mode, dtype, *, autocast, checkpointing, eager=False, rows=2, length=48):
    """Bytes that autograd saves, weights aside, in a real forward pass of the layers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = llama(hidden_size=128, intermediate_size=384, num_hidden_layers=layers)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager" if eager else "sdpa")
    if mode != "full":
        model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
        model.enable_input_require_grads()
    if mode == "qlora":  # as TRL makes it; 4-bit layers save no input either
        for p in (p for p in model.parameters() if p.requires_grad):
            p.data = p.data.to(torch.bfloat16)
    if checkpointing:
        model.gradient_checkpointing_enable()
    model.train()
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    saved = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        # bf16 copies of weights are counted apart (`_casts`): they have no rows.
        if storage._cdata not in weights and not (tensor.dim() == 2 and rows * length not in tensor.shape):
            saved[storage._cdata] = storage  # held, or its place could be another's
        return tensor

    ids = torch.randint(3, 500, (rows, length))
    mask = torch.ones_like(ids)
    mask[0, length // 2 :] = 0
    mixed = torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t), mixed:
        model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(storage.nbytes() for storage in saved.values())


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize(
    ("mode", "width", "autocast"),
    [("full", 4, True), ("full", 4, False), ("full", 2, True), ("lora", 2, True), ("lora", 4, False), ("qlora", 2, True)],
)
def test_a_layers_activations_are_those_that_autograd_keeps(mode, width, autocast, checkpointing):
    import torch

    dtype = {2: torch.bfloat16, 4: torch.float32}[width]
    one, three = (kept_for_backward(n, mode, dtype, autocast=autocast, checkpointing=checkpointing) for n in (1, 3))
    load = Load("sft", mode, 2, 48, width=width, autocast=autocast, checkpointing=checkpointing)
    shape = {**SMALL, "hidden_size": 128, "intermediate_size": 384}
    foreseen = [estimate(sizes({**shape, "num_hidden_layers": n}), load).activations * GIB for n in (1, 3)]
    casts = 2 * (sizes({**shape, "num_hidden_layers": 3}).quantized * 2 // 3) if width == 4 and autocast and not checkpointing else 0
    assert foreseen[1] - foreseen[0] - casts == pytest.approx(three - one, rel=0.05)


def test_attention_that_is_written_out_is_counted():
    import torch

    one, three = (kept_for_backward(n, "full", torch.bfloat16, autocast=True, checkpointing=False, eager=True) for n in (1, 3))
    load = Load("sft", "full", 2, 48, checkpointing=False, eager=True)
    shape = {**SMALL, "hidden_size": 128, "intermediate_size": 384}
    foreseen = [estimate(sizes({**shape, "num_hidden_layers": n}), load).activations * GIB for n in (1, 3)]
    assert foreseen[1] - foreseen[0] == pytest.approx(three - one, rel=0.05)


@pytest.mark.parametrize(
    "more", [{"batch": 4}, {"length": 1024}, {"checkpointing": False}, {"accumulation": 4}, {"mode": "lora"}, {"double": False}]
)
def test_more_of_anything_needs_no_less(of_8b, more):
    assert estimate(of_8b, replace(LOAD, **more)).needed > estimate(of_8b, LOAD).needed - 1e-9


def test_a_pair_is_two_sequences_and_a_demonstration_one(of_8b):
    by_method = {m: estimate(of_8b, replace(LOAD, method=m)) for m in ("dpo", "sft")}
    assert by_method["dpo"].activations == pytest.approx(2 * by_method["sft"].activations, rel=0.01)


def test_a_second_model_for_the_reference_weighs_as_much_as_the_first(of_8b):
    copy = estimate(of_8b, replace(LOAD, mode="full", width=4, reference="copy"))
    assert copy.reference == copy.weights
    assert estimate(of_8b, replace(LOAD, mode="full", reference="precomputed")).reference == 0


@pytest.mark.parametrize(
    ("optimizer", "bytes_each"),
    [("adamw_torch", 8), ("adamw_torch_fused", 8), ("sgd", 0), ("paged_lion_32bit", 4), ("adamw_8bit", 2.03), ("paged_adamw_8bit", 2.03)],
)
def test_an_optimiser_keeps_so_many_bytes_for_each_parameter(of_8b, optimizer, bytes_each):
    found = estimate(of_8b, replace(LOAD, mode="lora", optimizer=optimizer)).optimizer
    assert found * GIB / of_8b.adapter == pytest.approx(bytes_each, abs=0.01)


def test_adafactor_keeps_a_row_and_a_column(of_8b):
    assert estimate(of_8b, replace(LOAD, mode="full", width=4, optimizer="adafactor")).optimizer < 0.05


def test_an_embedding_keeps_its_states_in_32_bits(of_8b):
    found = estimate(of_8b, replace(LOAD, mode="full", width=4, optimizer="adamw_8bit")).optimizer * GIB
    linear = of_8b.parameters - of_8b.embedding
    assert found == pytest.approx(linear * 2.03 + of_8b.embedding * 8, rel=0.01)


def test_a_large_vocabulary_weighs_where_logits_are_written_out_and_little_where_they_are_not():
    wide = sizes({**SMALL, "vocab_size": 262_144, "hidden_size": 256, "intermediate_size": 512})
    load = replace(LOAD, batch=4, length=2048)
    whole = 4 * 2 * 2048 * 262_144 * 4 / GIB
    orpo, dpo = estimate(wide, replace(load, method="orpo", reference="none")), estimate(wide, load)
    assert dpo.logits_whole == pytest.approx(whole)
    assert orpo.logits > 2 * whole
    assert dpo.logits < 0.1 * whole
    assert estimate(sizes(method="reward"), replace(load, method="reward")).logits_whole == 0


def test_four_devices_hold_a_quarter_each_of_what_is_divided(of_70b):
    full = replace(LOAD, mode="full", width=4, reference="none", method="sft")
    one = estimate(of_70b, full)
    for shared, parts in (
        ("optimizer", {"optimizer"}),
        ("gradients", {"optimizer", "gradients"}),
        ("weights", {"optimizer", "gradients", "weights"}),
    ):
        four = estimate(of_70b, replace(full, world=4, shared=shared))
        for part in ("weights", "gradients", "optimizer"):
            assert getattr(four, part) == pytest.approx(getattr(one, part) / (4 if part in parts else 1))


def test_deepspeed_keeps_fp32_copies_of_what_it_trains_in_bf16(of_8b):
    load = replace(LOAD, mode="full", width=2, world=8, shared="weights", masters=True)
    memory = estimate(of_8b, load)
    assert (memory.weights + memory.gradients + memory.optimizer) * 8 * GIB == pytest.approx(16 * of_8b.parameters)


@pytest.mark.server
def test_a_training_on_the_cpu_takes_about_what_was_foreseen():
    from tests.bench.plan_gpu import CPU_SIZES, measure

    found = measure(CPU_SIZES["17M"], "full", "cpu")
    assert found["foreseen"] == pytest.approx(found["measured"], rel=0.3)
