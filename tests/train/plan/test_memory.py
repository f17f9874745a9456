"""The memory that the plan foresees, beside the figures of FACTS, beside what autograd keeps, and beside a real training."""

import contextlib
from dataclasses import replace

import pytest

from tests.train.plan.conftest import SMALL, llama, sizes
from train.four_bits import tame
from train.plan.memory import GIB, Load, estimate

LOAD = Load("dpo", "qlora", batch=2, length=512, optimizer="adamw_torch", reference="adapter_off")


def lasting(sizes, mode):
    """Weights, gradients and optimiser states, as people count them."""
    memory = estimate(sizes, replace(LOAD, mode=mode, width=4 if mode == "full" else 2))
    return memory.weights + memory.gradients + memory.optimizer


# FACTS counts 5.6 and 38 for QLoRA with TRL's adapter of 16 bits; ours is trained in 32 (train/learn.py).
@pytest.mark.parametrize(("mode", "gib"), [("full", 119.7), ("lora", 15.6), ("qlora", 5.9)])
def test_an_8b_model_takes_what_it_is_known_to_take(of_8b, mode, gib):
    assert lasting(of_8b, mode) == pytest.approx(gib, abs=0.05)


@pytest.mark.parametrize(("mode", "gib"), [("full", 1051), ("lora", 134), ("qlora", 39.6)])
def test_a_70b_model_takes_what_it_is_known_to_take(of_70b, mode, gib):
    assert lasting(of_70b, mode) == pytest.approx(gib, abs=0.6)


def in_four_bits(config, folder, dtype, attention):
    """A model of bitsandbytes' layers, as ours are loaded."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder)
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=getattr(torch, dtype)
    )
    return tame(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention, quantization_config=four_bits))


def kept_for_backward(layers, mode, dtype, folder=None, *, autocast, checkpointing, eager=False, rows=2, length=48):
    """Bytes that autograd saves, weights aside, in a real forward pass of the layers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config, attention = llama(hidden_size=128, intermediate_size=384, num_hidden_layers=layers), "eager" if eager else "sdpa"
    if mode == "qlora":
        model = in_four_bits(config, folder / str(layers), dtype, attention)
    else:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    if mode != "full":
        model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
        model.enable_input_require_grads()
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
    [
        *(("full", 4, True), ("full", 4, False), ("full", 2, True)),
        *(("lora", 2, True), ("lora", 4, True), ("lora", 4, False), ("lora", 2, False)),
        *(("qlora", 2, True), ("qlora", 4, True), ("qlora", 4, False), ("qlora", 2, False)),
    ],
)
def test_a_layers_activations_are_those_that_autograd_keeps(mode, width, autocast, checkpointing, tmp_path):
    dtype = {2: "bfloat16", 4: "float32"}[width]
    one, three = (kept_for_backward(n, mode, dtype, tmp_path, autocast=autocast, checkpointing=checkpointing) for n in (1, 3))
    load = Load("sft", mode, 2, 48, width=width, autocast=autocast, checkpointing=checkpointing, device="cpu")
    shape = {**SMALL, "hidden_size": 128, "intermediate_size": 384}
    foreseen = [estimate(sizes({**shape, "num_hidden_layers": n}), load).activations * GIB for n in (1, 3)]
    copied = width == 4 and autocast and not checkpointing and mode != "qlora"
    casts = 2 * (sizes({**shape, "num_hidden_layers": 3}).quantized * 2 // 3) if copied else 0
    assert foreseen[1] - foreseen[0] - casts == pytest.approx(three - one, rel=0.05)


def test_attention_that_is_written_out_is_counted():
    one, three = (kept_for_backward(n, "full", "bfloat16", autocast=True, checkpointing=False, eager=True) for n in (1, 3))
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


def test_deepspeed_holds_an_adapter_in_16_bits_beside_its_fp32_copy(of_8b):
    """Its engine casts the whole module (DeepSpeed, DeepSpeedEngine._configure_distributed_model)."""
    lora = replace(LOAD, mode="lora", world=8, shared="optimizer", masters=True)
    memory, without = estimate(of_8b, lora), estimate(of_8b, replace(lora, masters=False))
    assert memory.gradients * GIB == 2 * of_8b.adapter
    assert without.gradients * GIB == 4 * of_8b.adapter
    assert memory.optimizer * 8 * GIB == pytest.approx((4 + 8) * of_8b.adapter)


@pytest.mark.server
@pytest.mark.parametrize("bf16", [True, False], ids=["bf16", "fp32"])
@pytest.mark.parametrize("mode", ["qlora", "lora"])
def test_an_adapter_is_held_as_the_plan_counts_it(mode, bf16, tiny_model, tmp_path):
    """Weights, gradients and states of a training of ours that has made a step."""
    import torch
    from transformers import TrainerCallback

    from tests.harness.training import make_recipe
    from train.asked import ask
    from train.learn import make_trainer
    from train.lengths import fit

    held = {}

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
            trained = [p for p in model.parameters() if p.requires_grad]
            held["weights"] = sum(p.numel() * p.element_size() for p in trained)
            held["gradients"] = sum(p.grad.numel() * p.grad.element_size() for p in trained)

    fields = {"bf16": bf16, "max_steps": 1, "save_strategy": "no", "eval_strategy": "no", "optim": "adamw_torch"}
    raw = make_recipe(tmp_path, tiny_model, mode=mode, trainer=fields)
    raw["model"]["dtype"] = "bfloat16" if bf16 else "float32"
    asked = ask(raw)
    trainer = make_trainer(asked, fit(asked.data, asked.recipe, asked.tokenizer, 128), [Look()])
    trainer.train()
    states = [t for state in trainer.optimizer.state.values() for t in state.values() if torch.is_tensor(t) and t.numel() > 1]
    foreseen, adapter = asked.plan.memory, asked.plan.sizes.adapter
    base = estimate(replace(asked.plan.sizes, adapter=0), asked.plan.load).weights
    assert held["weights"] == pytest.approx((foreseen.weights - base) * GIB) == 4 * adapter
    assert held["gradients"] == foreseen.gradients * GIB
    assert sum(t.numel() * t.element_size() for t in states) == foreseen.optimizer * GIB


@pytest.mark.server
def test_a_training_on_the_cpu_takes_about_what_was_foreseen():
    from tests.bench.plan_gpu import CPU_SIZES, measure

    found = measure(CPU_SIZES["17M"], "full", "cpu")
    assert found["foreseen"] == pytest.approx(found["measured"], rel=0.3)
