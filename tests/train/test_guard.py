"""The bitsandbytes trap: on a CPU with AVX512-BF16 a forward pass in eval mode ruins the gradients of a 4-bit model in silence."""

import pytest

from tests.harness.training import make_recipe
from train import base
from train.defaults import Device
from train.settings import check_train_recipe

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")
bitsandbytes = pytest.importorskip("bitsandbytes")

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def _cpu_that_repacks():
    from bitsandbytes.functional import has_avx512bf16

    if torch.cuda.is_available() or not has_avx512bf16():
        pytest.skip("only a CPU with AVX512-BF16 repacks 4-bit weights; this machine has none")


def gradients(model, after_eval):
    """Of the first layer's adapter, which all the 4-bit layers above hand down; after a forward pass in eval mode, or without one."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    ids = torch.arange(1, 33).reshape(2, 16)
    if after_eval:
        model.eval()
        with torch.no_grad():
            model(input_ids=ids)
    model.train()
    model(input_ids=ids, labels=ids).loss.backward()
    found = [p.grad.flatten().float() for name, p in model.named_parameters() if p.requires_grad and p.grad is not None]
    return torch.cat(found) if found else torch.zeros(0)


def load(tiny_model, folder):
    recipe = check_train_recipe(make_recipe(folder, tiny_model, mode="qlora"))
    return base.load_model(recipe, Device("cpu", bf16=True))


def test_a_measurement_before_training_leaves_the_gradients_as_they_were(tiny_model, tmp_path):
    untouched = gradients(load(tiny_model, tmp_path), after_eval=False)
    after = gradients(load(tiny_model, tmp_path), after_eval=True)

    assert torch.equal(untouched, after)


def test_without_the_guard_they_are_others(tiny_model, tmp_path, monkeypatch):
    untouched = gradients(load(tiny_model, tmp_path), after_eval=False)
    monkeypatch.setattr(base, "tame", lambda model: model)
    after = gradients(load(tiny_model, tmp_path), after_eval=True)

    # When this fails, bitsandbytes is mended, and the guard may go.
    assert after.shape != untouched.shape or float(torch.cosine_similarity(untouched, after, dim=0)) < 0.99
