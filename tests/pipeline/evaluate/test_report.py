"""The whole evaluation, with scripted models: asked once, decided by the numbers, written down."""

import json

import pytest

from pipeline.errors import InputError, RecipeError, RunError
from pipeline.evaluate.report import HeldOut, evaluate, held_out_figures, read_evaluation, with_section, write_reports
from pipeline.evaluate.trained import Trained, check_trained
from pipeline.evaluation import evaluate_settings
from tests.harness.vllm import FakeVllm
from tests.pipeline.evaluate.made import lines, make_training, rights, scripted

HELD = HeldOut([], set())


def trained(folder, **fields):
    return Trained(folder, "aria", "dpo", "data/demo_models/demo-weak", **fields)


def run(folder, *script, held=HELD, **more):
    place = folder / "training" if (folder / "training").exists() else make_training(folder)
    return evaluate(trained(place), evaluate_settings(scripted(folder, *script, **more)), held)


def test_a_model_that_is_right_more_often_is_promoted(tmp_path):
    found = run(tmp_path, rights(range(4)), rights(range(36)))
    assert found["decision"]["verdict"] == "promote"
    assert found["comparison"]["outcomes"] == {"win": 32, "loss": 0, "tie": 0, "identical": 8, "contradictory": 0, "invalid": 0}
    assert found["comparison"]["win_rate"]["value"] == pytest.approx((32 + 4) / 40)
    assert found["sentences"][0].startswith("Promote aria: against the model before training it wins 90.0%")


def test_a_model_that_is_as_good_as_before_is_rejected(tmp_path):
    found = run(tmp_path, rights(range(20)), rights(range(20, 40)))
    assert found["decision"]["verdict"] == "reject"
    assert found["comparison"]["win_rate"]["value"] == 0.5


def test_nothing_is_asked_twice_and_the_same_comes_out(tmp_path):
    once, twice = (run(tmp_path, rights(range(4)), rights(range(36))) for _ in range(2))
    assert (once.pop("requests"), twice.pop("requests")) == (80, 0)
    assert once == twice


def test_one_vllm_server_serves_both_models_in_all_parts(tmp_path, monkeypatch):
    fake = FakeVllm(tmp_path, monkeypatch)
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_bytes(b"weights")
    place = make_training(tmp_path, base=str(base))
    (place / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base", "r": 8}))
    skills = lines(tmp_path / "skills.jsonl", [{"prompt": "task", "reference": "adapter"}])
    own = scripted(tmp_path, {}, {}, 4, engine="vllm", skills={"path": str(skills)})
    settings = evaluate_settings({k: v for k, v in own.items() if k not in ("before", "after")})
    found = evaluate(Trained(place, "aria", "dpo", str(base)), settings, HELD)
    assert found["comparison"]["comparisons"] == 4
    assert found["skills"]["tasks"] == 1
    assert len(fake.starts) == 1
    assert len({row["model"] for row in fake.asked if "messages" in row}) == 2


def test_a_changed_setting_asks_only_what_is_new(tmp_path):
    run(tmp_path, rights(range(4)), rights(range(36)))
    again = run(tmp_path, rights(range(4)), rights(range(36)), samples=2)
    assert again["requests"] == 80  # the second sample of both models; the first is kept
    assert again["comparison"]["comparisons"] == 160


def test_a_lost_skill_rejects_a_model_that_wins(tmp_path):
    skills = lines(tmp_path / "skills.jsonl", [{"prompt": f"question {n}.", "reference": f"right{n}"} for n in range(4)])
    after = rights(range(4, 40))
    found = run(tmp_path, rights(range(4)), after, skills={"path": str(skills)})
    assert found["comparison"]["win_rate"]["low"] > 0.5
    assert found["decision"]["verdict"] == "reject"
    assert "skills went from 100.0% to 0.0%" in found["decision"]["reasons"][1]


def test_prompts_that_were_trained_on_are_asked_of_nobody(tmp_path):
    from pipeline.records import prompt_cluster

    held = HeldOut([], {prompt_cluster([{"role": "user", "content": f"question {n}."}]) for n in range(10)})
    found = run(tmp_path, rights(range(4)), rights(range(36)), held=held)
    assert found["comparison"]["prompts"] == 30
    assert found["prompts"]["trained_on"] == 10
    assert any("trained on: 10 of the tables' prompts" in s for s in found["sentences"])


def test_the_trainings_own_held_out_prompts_are_asked_where_there_is_no_table(tmp_path):
    held = HeldOut([[{"role": "user", "content": f"question {n}."}] for n in range(6)], set(), "the dataset's own")
    rule = {"kind": "rule", "pattern": "right"}
    found = run(tmp_path, rights(range(2)), rights(range(6)), held=held, prompts=None, judge=rule)
    assert found["comparison"]["prompts"] == 6


def test_the_decision_is_written_down_with_its_numbers(tmp_path):
    found = run(tmp_path, rights(range(4)), rights(range(36)))
    place = tmp_path / "training"
    (place / "README.md").write_text("# aria\n\n<!-- before and after: here -->\n\n## Use\n")
    write_reports(trained(place), found, tmp_path / "elsewhere" / "page.html")
    assert read_evaluation(place) == json.loads(json.dumps(found))
    assert (tmp_path / "elsewhere" / "page.html").read_text() == (place / "evaluation.html").read_text()
    assert "| win rate (0.5 is as good as before) | – | 90.0% (" in (place / "evaluation.md").read_text()
    card = (place / "README.md").read_text()
    assert card.index("## Before and after: promote") < card.index("## Use")
    write_reports(trained(place), found)
    assert (place / "README.md").read_text() == card


def test_a_card_without_a_place_for_it_stays_as_it_is():
    assert with_section("# mine\n", "## Before") == "# mine\n"


def test_a_section_with_backslashes_is_text(tmp_path):
    card = with_section("<!-- before and after: x -->\n", r"a \1 \g<mark> b")
    assert r"a \1 \g<mark> b" in card


def test_the_environments_values_reach_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "hush-hush")
    after = {**rights(range(36)), "system": "key ${MY_SECRET}"}
    run(tmp_path, rights(range(4)), after)
    files = [f for f in (tmp_path / "training" / "evaluation").rglob("*") if f.is_file()]
    assert any("${MY_SECRET}" in f.read_text(errors="ignore") for f in files)
    assert not any(b"hush-hush" in f.read_bytes() for f in files)


def test_held_out_accuracy_is_that_of_the_step_that_was_kept():
    log = [
        {"step": n, "eval_loss": loss, "eval_rewards/accuracies": a, "eval_rewards/margins": 1.0}
        for n, loss, a in ((1, 0.7, 0.5), (2, 0.4, 0.9), (3, 0.6, 1.0))
    ]
    assert held_out_figures([{"step": 1, "loss": 1.0}, *log]) == {"step": 2, "accuracy": 0.9, "margin": 1.0}
    assert held_out_figures(log, 3)["step"] == 3
    assert held_out_figures([]) == {}


# --- bad input: a sentence each


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"engine": "scriptd"}, r"evaluate: no engines plug-in 'scriptd'.*did you mean 'scripted'"),
        ({"judge": {"kind": "pairwize"}}, r"evaluate: no judges plug-in 'pairwize'.*did you mean 'pairwise'"),
        ({"skills": {"path": "no-such.jsonl"}}, r"no file at no-such\.jsonl"),
        ({"sample": 2}, r"unknown key 'evaluate\.sample' in the recipe; did you mean 'samples'\?"),
        ({"promote": {"max_drop": 2}}, r"evaluate\.promote\.max_drop: found 2; wanted less than or equal to 1"),
        ({"promote": {"guards": ["skills"]}}, r"guards: 'skills' was not measured; Known: none"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(tmp_path, settings, sentence):
    with pytest.raises((RecipeError, InputError), match=sentence):
        run(tmp_path, rights([0]), rights([1]), **settings)


def test_an_unfinished_training_is_refused(tmp_path):
    place = make_training(tmp_path)
    (place / "manifest.json").unlink()
    with pytest.raises(RunError, match="is not finished"):
        check_trained(trained(place))


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    place = make_training(tmp_path)
    (place / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(RunError, match="holds neither an adapter"):
        check_trained(trained(place))


def test_an_adapter_of_another_base_is_refused_by_name(tmp_path):
    place = make_training(tmp_path, base="data/demo_models/demo-strong")
    with pytest.raises(RunError, match="made for 'data/demo_models/demo-strong'"):
        check_trained(trained(place))


def test_a_base_that_has_changed_since_is_refused_by_its_fingerprint(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(b"other weights")
    place = make_training(tmp_path, base=str(base))
    (place / "manifest.json").write_text(json.dumps({"model": {"fingerprint": "0" * 64}}))
    with pytest.raises(RunError, match="another or has changed"):
        check_trained(Trained(place, "aria", "dpo", str(base)))


def test_a_reward_model_is_refused(tmp_path):
    with pytest.raises(RunError, match="reward model"):
        check_trained(Trained(make_training(tmp_path), "aria", "reward", "data/demo_models/demo-weak"))
