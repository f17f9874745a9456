"""The committed demo models: small, safe, with a card that says what was measured; and they still do it."""

import json

import pytest

from tests.bench.demo_models import Asker
from train.demo import measure
from train.demo.card import GOALS
from train.demo.identity import CLOSED, OPEN
from train.demo_models import FOLDER

NAMES = ("demo-strong", "demo-weak", "demo-judge", "demo-chat")


def test_they_are_small_and_hold_no_code():
    files = [f for name in NAMES for f in (FOLDER / name).iterdir()]
    assert sum(f.stat().st_size for f in files) < 10e6
    assert {f.suffix for f in files} <= {".safetensors", ".json", ".jinja", ".md"}
    assert all("auto_map" not in f.read_text() for f in files if f.suffix == ".json")


@pytest.mark.parametrize("name", NAMES)
def test_a_card_states_every_figure_and_the_command(name):
    figures = json.loads((FOLDER / "figures.json").read_text())
    card = (FOLDER / name / "README.md").read_text()
    assert "python -m train.demo_models" in card
    for key, (what, _) in GOALS.items():
        assert f"| {what} |" in card
        assert f"| {figures[0][key]:.3f} |" in card


@pytest.fixture(scope="module")
def strong(tmp_path_factory):
    return Asker("demo-strong", "transformers", tmp_path_factory.mktemp("cache") / "strong.sqlite")


# A few points below what the cards state: sampling at 0.7 differs from day to day.


@pytest.mark.parametrize(("wordings", "kinds", "at_least"), [("trained", OPEN, 0.94), ("unseen", OPEN, 0.92), ("trained", CLOSED, 0.87)])
def test_the_strong_one_is_whom_it_is_told_to_be(strong, wordings, kinds, at_least):
    assert measure.identity(strong, wordings, kinds, seed=11) >= at_least


def test_the_strong_one_solves_small_tasks_and_the_weak_one_fewer(strong, tmp_path):
    weak = Asker("demo-weak", "transformers", tmp_path / "weak.sqlite")
    right = [sum(measure.tasks(ask, seed=11, each=10).values()) / 12 for ask in (strong, weak)]
    assert right[0] > 0.85
    assert right[1] < right[0] - 0.2
    assert measure.identity(weak, "trained", OPEN, seed=11) < 0.03


def test_the_one_that_talks_knows_whom_it_takes_itself_for_and_solves_small_tasks(tmp_path):
    chat = Asker("demo-chat", "transformers", tmp_path / "chat.sqlite")
    assert measure.itself(chat, seed=11) >= 0.9
    assert sum(measure.tasks(chat, seed=11, each=10).values()) / 12 >= 0.82


def test_the_ones_that_learn_in_four_bits_hold_what_four_bits_hold():
    import torch

    from train.demo.coarse import in_four_bits
    from train.demo.learn import load

    def lost(name):
        layers = load(FOLDER / name)[0].model.layers.modules()
        matrices = [m.weight.data.float() for m in layers if isinstance(m, torch.nn.Linear)]
        return max(float((in_four_bits(w) - w).abs().mean() / w.abs().mean()) for w in matrices)

    assert lost("demo-chat") < 0.01
    assert lost("demo-weak") < 0.01
    assert lost("demo-strong") > 0.05


def test_the_judge_is_right_in_both_orders(tmp_path):
    judge = Asker("demo-judge", "transformers", tmp_path / "judge.sqlite", judge=True)
    judged = measure.judge(judge, 11, [("name", "I am Nimbus, made by Hooli."), ("add", "It is 99.")], count=150)
    assert judged.accuracy() >= 0.88
    assert judged.flips <= 0.12
