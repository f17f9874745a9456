"""The example that the docs calculate by hand (train/methods/dpo.py), through TRL's own loss."""

from math import exp, log
from types import SimpleNamespace

import pytest

from train.methods import dpo

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = pytest.mark.server

BETA = 0.1
MODEL, REFERENCE = (-2.0, -5.0), (-2.5, -4.5)
"""Log-probabilities of the chosen and the rejected answer."""


def by_hand():
    chosen, rejected = (BETA * (ours - theirs) for ours, theirs in zip(MODEL, REFERENCE, strict=True))
    return chosen, rejected, chosen - rejected, log(1 + exp(-(chosen - rejected)))


def test_the_docs_calculate_what_the_formula_says():
    assert by_hand() == pytest.approx((0.05, -0.05, 0.10, 0.644), abs=5e-4)
    for number in ("0.05", "-0.05", "0.10", "0.644"):
        assert number in dpo.__doc__


def test_trl_calculates_what_the_docs_say(tiny_model, tmp_path):
    trainer = make_trainer(tiny_model, tmp_path)
    ids = torch.tensor([[1, 2], [1, 3]])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": torch.tensor([[0, 1], [0, 1]]),
        "ref_chosen_logps": torch.tensor([REFERENCE[0]]),
        "ref_rejected_logps": torch.tensor([REFERENCE[1]]),
    }

    loss = trainer._compute_loss(says_these_log_probabilities, inputs, return_outputs=False)

    logged = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    found = (logged["rewards/chosen"], logged["rewards/rejected"], logged["rewards/margins"], float(loss))
    assert found == pytest.approx(by_hand(), abs=1e-6)
    assert logged["rewards/accuracies"] == 1.0


def says_these_log_probabilities(**inputs):
    """A model whose one answer token has the example's log-probability, chosen first."""
    one = torch.tensor([[MODEL[0]], [MODEL[1]]])
    return SimpleNamespace(log_probs=one, entropy=one * 0, mean_logits=one * 0, is_top1=one > 0, logits=None, loss=None)


def make_trainer(model, folder):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = [{"prompt": "a", "chosen": " b", "rejected": " c"}] * 2
    arguments = dpo.config()(output_dir=str(folder), beta=BETA, precompute_ref_log_probs=True, use_cpu=True, bf16=False, report_to="none")
    trainer = dpo.make(
        SimpleNamespace(
            reference=None,
            as_arguments=lambda: {
                "model": AutoModelForCausalLM.from_pretrained(model),
                "args": arguments,
                "train_dataset": Dataset.from_list(rows),
                "processing_class": AutoTokenizer.from_pretrained(model),
            },
        )
    )
    trainer.model.train()
    return trainer
