"""Learning in four bits: what comes out says the same in four bits and in sixteen."""

from contextlib import suppress
from random import Random

import pytest

from train.demo.corpus import Conversations, Mixture
from train.demo.learn import Lesson, Shape, learn, make_model, make_tokenizer

PIECES = ["an", "or", "mi"]


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(Random(0), vocabulary=400)


def lost_in_four_bits(model) -> float:
    import torch

    from train.demo.coarse import in_four_bits

    matrices = [m.weight.data for m in model.model.layers.modules() if isinstance(m, torch.nn.Linear)]
    return max(float((in_four_bits(w) - w).abs().mean() / w.abs().mean()) for w in matrices)


@pytest.mark.parametrize(("coarse", "least", "most"), [(True, 0.0, 0.01), (False, 0.05, 1.0)])
def test_a_coarse_lesson_leaves_weights_that_four_bits_hold(tokenizer, monkeypatch, coarse, least, most):
    monkeypatch.setattr("train.demo.learn.shutil.which", lambda name: None)  # to compile takes longer than to learn so little
    model = make_model(tokenizer, Shape(width=64, layers=1), seed=0)
    before = [p.detach().clone() for p in model.parameters()]
    talk = Conversations(PIECES)
    said = []
    lessons = [Lesson(3, Mixture({"repeat": 1.0})), Lesson(12, Mixture({"repeat": 1.0}), coarse=coarse)]
    learn(model, tokenizer, talk, lessons, Random(1), tokens=256, say=said.append)
    assert least <= lost_in_four_bits(model) <= most
    assert all(bool((a != b).any()) for a, b in zip(before, model.parameters(), strict=True))


def test_noise_shakes_the_weights_anew_each_time(tokenizer):
    from train.demo.coarse import Rounding

    model = make_model(tokenizer, Shape(width=64, layers=1), seed=0)
    weight = model.model.layers[0].mlp.up_proj.weight.data
    seen = []
    for noise in (0.0, 0.0, 0.3, 0.3):
        with Rounding(model, noise).rounded():
            seen.append(weight.clone())
    assert bool((seen[0] == seen[1]).all())
    assert float((seen[2] - seen[3]).std() / weight.std()) == pytest.approx(0.3 * 2**0.5, rel=0.1)


def test_the_exact_weights_come_back_after_each_step_even_after_an_error(tokenizer):
    from train.demo.coarse import Rounding

    model = make_model(tokenizer, Shape(width=64, layers=1), seed=0)
    weight = model.model.layers[0].mlp.up_proj.weight
    exact = weight.detach().clone()
    rounding = Rounding(model)
    with suppress(RuntimeError), rounding.rounded():
        assert not bool((weight == exact).all())
        raise RuntimeError("stop")
    assert bool((weight == exact).all())
