"""Log probabilities from a real, tiny model: they are the model's own, one place for each token, and only where they are asked for."""

import asyncio
import math
from dataclasses import replace
from itertools import pairwise

import orjson
import pytest

from pipeline.judges import make_judge
from pipeline.plugins import load_plugin, plugin_names
from pipeline.records import Answer, Comparison, Request
from tests.harness.paid import user, with_model
from tests.harness.shards import answer, prompt

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

from pipeline.engines.transformers import Engine, Settings  # noqa: E402

QUESTIONS = ("hi", "Which river runs through Vienna?", "Name a fruit that grows on trees, please. " * 3)


def asked(text, count=5, **sampling):
    return Request(tuple(user(text)), {"temperature": 0.0, "max_tokens": 8, **sampling}, logprobs=count)


def replies(folder, *requests):
    async def work():
        engine = Engine("m", Settings(engine="transformers", model=str(folder), device="cpu"))
        await engine.start()
        try:
            return await asyncio.gather(*map(engine.reply, requests))
        finally:
            await engine.close()

    return asyncio.run(work())


def test_every_token_has_its_likeliest_the_likeliest_first(tiny_model):
    for reply in replies(tiny_model, *map(asked, QUESTIONS)):
        assert len(reply.logprobs) == reply.completion_tokens
        assert "".join(t.token for t in reply.logprobs) == reply.text
        for place in reply.logprobs:
            assert len(place.top) == 5
            assert place.top[0][0] == place.token  # greedy
            assert all(p >= q for (_, p), (_, q) in pairwise(place.top))
            assert 0 < sum(math.exp(p) for _, p in place.top) <= 1.0001


def test_they_are_the_models_own_whatever_the_temperature(tiny_model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    ids = tokenizer.apply_chat_template(user("hi"), add_generation_prompt=True, return_dict=True, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = model(input_ids=ids).logits[0, -1].log_softmax(-1).topk(5).values.tolist()
    for sampling in ({}, {"temperature": 3.0, "seed": 1}, {"temperature": 0.5, "top_p": 0.2, "seed": 1}):
        (reply,) = replies(tiny_model, asked("hi", **sampling))
        assert [p for _, p in reply.logprobs[0].top] == pytest.approx(expected, abs=1e-4)


def test_who_does_not_ask_gets_none_and_the_same_text(tiny_model):
    without, having = replies(tiny_model, asked("hi", 0), asked("hi"))
    assert without.logprobs is None
    assert replace(having, logprobs=None) == without


def test_a_stop_text_ends_them_with_the_reply(tiny_model):
    (whole,) = replies(tiny_model, asked("hi"))
    (cut,) = replies(tiny_model, asked("hi", stop=[whole.text[2:4]]))
    assert len(cut.logprobs) == cut.completion_tokens < len(whole.logprobs)


@pytest.mark.parametrize("name", plugin_names("engines"))
def test_an_engine_says_in_a_word_whether_it_gives_them(name):
    assert isinstance(getattr(load_plugin("engines", name).Engine, "logprobs", False), bool)


def test_a_reply_without_them_is_not_reused_for_one_who_asks(tiny_model, tmp_path):
    settings = {"engine": "transformers", "model": str(tiny_model), "device": "cpu", "sampling": {"temperature": 0, "max_tokens": 4}}

    async def work(model):
        return [await model.ask(user("hi"), logprobs=n) for n in (0, 3, 0, 3)], model._budget.of("m").requests

    (none, three, *again), requests = with_model(settings, tmp_path / "c.sqlite", work)
    assert (none.logprobs, len(three.logprobs[0].top), requests) == (None, 3, 2)
    assert again == [none, three]


def test_a_rubric_reads_the_distribution_of_a_real_model(tiny_model, tmp_path):
    # A model of random weights never says a score. Driven to one of 2, 3 and 4, it does; how sure it is of each is its own.
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    *form, _ = said = tokenizer("good:3", add_special_tokens=False)["input_ids"]
    scores = [tokenizer(d, add_special_tokens=False)["input_ids"][0] for d in "234"]
    bias = [[said[: n + 1], 60.0 + 20 * n] for n in range(len(form))]
    bias += [b for s in scores for b in ([[*form, s], 300.0], [[*form, s, tokenizer.eos_token_id], 400.0])]
    (tmp_path / "p.md").write_text(
        "---\nid: p\ninputs: [answer, criteria]\nexample: {answer: x, criteria: []}\n---\n"
        "@user\n{{ answer }}{% for c in criteria %} {{ c.name }}?{% endfor %}\n"
    )
    sampling = {"temperature": 1.0, "max_tokens": len(said) + 1, "extra": {"sequence_bias": bias}}
    model = {"engine": "transformers", "model": str(tiny_model), "device": "cpu", "sampling": sampling}
    raw = {"kind": "rubric", "model": model, "criteria": {"good": ""}, "prompt": str(tmp_path / "p.md"), "tie_within": 0}
    question = prompt("hi")
    answers: dict[str, Answer] = {a.id: a for a in (answer(question, "x", "an apple"), answer(question, "y", "the Danube"))}

    async def work(model):
        verdicts = await make_judge(raw, {"judge": model}).judge(question, answers, [Comparison.of(question.id, *answers)])
        return verdicts[0], model._budget.of("m").requests

    verdict, requests = with_model(model, tmp_path / "c.sqlite", work)
    assert requests == 2  # one for each answer, though the temperature is not 0
    assert verdict.choice in ("A", "B")
    assert all(2 < score < 4 and score != round(score) for score in (verdict.score_a, verdict.score_b))
    assert [of["replies"][0][:5] for of in orjson.loads(verdict.reply).values()] == ["good:"] * 2
