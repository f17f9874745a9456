"""The reward judge with a real, tiny classifier: what it thinks is nonsense, how it is asked is not."""

import asyncio
import shutil
from itertools import combinations

import pytest

from pipeline.errors import EngineError
from pipeline.judge import resolve
from pipeline.records import Comparison
from tests.harness.shards import answer, prompt

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

from pipeline.judges.reward import Judge, Settings  # noqa: E402
from tests.harness.tiny_model import CONTEXT  # noqa: E402

TEXTS = ("The Danube.", "An apple grows on a tree, and so does a pear. " * 2, "Eight legs", "", "hi")


def make_reward_model(chat, folder, outputs=1):
    """A classifier on the tiny chat model's body, with a head of random weights."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_pretrained(chat, num_labels=outputs).save_pretrained(folder)
    AutoTokenizer.from_pretrained(chat).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reward(tiny_model, tmp_path_factory):
    return make_reward_model(tiny_model, tmp_path_factory.mktemp("reward") / "model")


def judged(folder, texts=TEXTS, pairs=None, judge=None, **fields):
    question = prompt("Which river runs through Vienna?")
    answers = [answer(question, str(n), text) for n, text in enumerate(texts)]
    comparisons = [Comparison.of(question.id, answers[i].id, answers[j].id) for i, j in pairs or combinations(range(len(texts)), 2)]
    judge = judge or Judge(Settings(model=str(folder), device="cpu", **fields))
    return asyncio.run(judge.judge(question, {a.id: a for a in answers}, comparisons))


def test_the_higher_score_wins_and_every_answer_has_one_score(reward):
    verdicts = judged(reward)
    assert [v.choice for v in verdicts] == ["A" if v.score_a > v.score_b else "B" for v in verdicts]
    assert {v.choice for v in verdicts} == {"A", "B"}
    assert len({s for v in verdicts for s in (v.score_a, v.score_b)}) == len(TEXTS)
    assert {(v.judge, v.order, v.source) for v in verdicts} == {("reward:model", None, "llm")}
    assert resolve(verdicts[:1]).result == verdicts[0].choice


def test_the_score_is_what_the_model_says_of_the_conversation(reward):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(reward), AutoModelForSequenceClassification.from_pretrained(reward)
    turns = [{"role": "user", "content": "Which river runs through Vienna?"}, {"role": "assistant", "content": TEXTS[0]}]
    ids = tokenizer.apply_chat_template(turns, return_dict=True, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = model(input_ids=ids).logits[0, 0].item()
    assert judged(reward, pairs=[(0, 1)])[0].score_a == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [1, 2, 8])
def test_a_batch_changes_no_score(reward, size):
    alone = [judged(reward, pairs=[(i, i)], batch_size=1)[0].score_a for i in range(len(TEXTS))]
    verdicts = judged(reward, batch_size=size)
    together = [verdicts[0].score_a, *(v.score_b for v in verdicts[: len(TEXTS) - 1])]
    assert together == [pytest.approx(score, abs=2e-4) for score in alone]


def test_the_same_answers_get_the_same_scores_whoever_meets_whom(reward):
    pairs = list(combinations(range(len(TEXTS)), 2))
    there, back = judged(reward, pairs=pairs), judged(reward, pairs=[(j, i) for i, j in pairs])
    assert [(v.score_b, v.score_a) for v in back] == [(v.score_a, v.score_b) for v in there]


def test_scores_that_lie_close_together_tie(reward):
    assert {v.choice for v in judged(reward, tie_within=1e6)} == {"tie"}


def test_an_answer_that_is_too_long_is_no_evidence(reward):
    verdicts = judged(reward, ["The Danube.", "tree " * CONTEXT, "hi"])
    assert [(v.choice == "invalid", v.reason) for v in verdicts] == [(True, "context_length"), (False, None), (True, "context_length")]
    assert f"reads at most {CONTEXT}" in verdicts[0].reply
    assert verdicts[0].score_a is None


def test_the_model_is_loaded_once_and_only_when_it_is_asked(reward, monkeypatch):
    from pipeline.engines._reward_model import RewardModel

    loads = []
    load = RewardModel._load
    monkeypatch.setattr(RewardModel, "_load", lambda self: loads.append(1) or load(self))
    judge = Judge(Settings(model=str(reward), device="cpu"))
    assert loads == []
    assert judged(reward, judge=judge) == judged(reward, judge=judge)
    assert loads == [1]


def test_other_weights_are_another_revision(reward, tiny_model, tmp_path):
    copy = shutil.copytree(reward, tmp_path / "copy")
    of = lambda folder: Judge(Settings(model=str(folder))).revision()  # noqa: E731
    assert of(copy) == of(reward)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert of(copy) != of(reward)


def refusal(folder):
    with pytest.raises(EngineError) as refused:
        judged(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_model_that_is_no_reward_model_is_refused_before_anything_is_loaded(tiny_model, tmp_path):
    with pytest.raises(EngineError, match=r"the judge reward:.* is no reward model .* names LlamaForCausalLM; wanted a seq"):
        Judge(Settings(model=str(tiny_model)))
    with pytest.raises(EngineError, match="names no architecture"):
        Judge(Settings(model=str(tmp_path)))


def test_a_classifier_of_several_outputs_is_refused(tiny_model, tmp_path):
    assert "it has 3 outputs and not one" in refusal(make_reward_model(tiny_model, tmp_path / "three", outputs=3))


def test_a_model_whose_head_is_missing_is_refused_and_not_made_up(reward, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(reward, tmp_path / "headless")
    weights = {k: v for k, v in load_file(copy / "model.safetensors").items() if k != "score.weight"}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "lack weights, such as score.weight" in refusal(copy)


def test_a_model_without_a_chat_template_or_without_safetensors_is_refused(reward, tmp_path):
    copy = shutil.copytree(reward, tmp_path / "mute")
    (copy / "chat_template.jinja").unlink()
    assert "no chat template" in refusal(copy)
    copy = shutil.copytree(reward, tmp_path / "pickled")
    torch.save({}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert "safetensors" in refusal(copy)
