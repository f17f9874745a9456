"""The transformers engine with a real, tiny model: what is generated is nonsense, how it is handled is not."""

import asyncio
import json
import os
import shutil
import subprocess
import sys

import pytest

from pipeline import ROOT
from pipeline.errors import EngineError, RecipeError, RequestFailed
from pipeline.fingerprint import folder_fingerprint
from pipeline.records import Request
from pipeline.settings import ModelSettings, plugin_settings
from tests.harness.paid import user, with_model

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

from pipeline.engines.transformers import Engine, Settings  # noqa: E402
from tests.harness.tiny_model import CONTEXT, END  # noqa: E402

QUESTIONS = ("hi", "Which river runs through Vienna?", "Name a fruit that grows on trees, please. " * 3)
GREEDY = {"temperature": 0.0, "max_tokens": 12}
ENDLESS = {"suppress_tokens": [2]}
"""An extra under which no answer ends by itself; 2 is the tiny tokenizer's end token."""


def request(text, **sampling):
    return Request(tuple(user(text)), {**GREEDY, **sampling})


def replies(folder, *requests, together=True, **fields):
    """The replies, errors in their places; all asked at once, or one after the other."""

    async def work():
        engine = Engine("m", Settings(engine="transformers", model=str(folder), device="cpu", **fields))
        await engine.start()
        try:
            if together:
                return await asyncio.gather(*map(engine.reply, requests), return_exceptions=True)
            return [await engine.reply(r) for r in requests]
        finally:
            await engine.close()

    return asyncio.run(work())


def ending(bias):
    """Sampling under which the end of the answer is more likely."""
    return {"sequence_bias": [[[2], bias]]}


@pytest.fixture
def copy(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "copy")


@pytest.fixture
def passes():
    """How many rows each pass through the model had."""
    rows = []

    def note(module, args, output):
        if type(module).__name__ == "LlamaForCausalLM":
            rows.append(output.logits.shape[0])

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    yield rows
    hook.remove()


# Batches


def test_prompts_of_different_lengths_say_together_what_each_says_alone(tiny_model):
    asked = [request(q) for q in QUESTIONS]
    alone, together = replies(tiny_model, *asked, together=False), replies(tiny_model, *asked)
    assert together == alone
    assert len({r.text for r in together}) == len(QUESTIONS)


def test_token_counts_leave_out_the_padding(tiny_model):
    short, _, long = replies(tiny_model, *(request(q, extra=ENDLESS) for q in QUESTIONS))
    assert short.prompt_tokens < 20 < 50 < long.prompt_tokens
    assert short.completion_tokens == long.completion_tokens == 12


def test_a_batch_is_never_larger_than_asked(tiny_model, passes):
    came = replies(tiny_model, *(request(f"question {i}", extra=ENDLESS) for i in range(5)), batch_size=2)
    assert [r.finish_reason for r in came] == ["length"] * 5
    assert set(passes) == {1, 2}


def test_requests_with_other_sampling_parameters_are_not_mixed(tiny_model, passes):
    long, short = {"max_tokens": 12, "extra": ENDLESS}, {"max_tokens": 5, "extra": ENDLESS}
    asked = [request(QUESTIONS[0], **long), request(QUESTIONS[0], **short), request(QUESTIONS[1], **short)]
    first, *short = replies(tiny_model, *asked)
    assert passes.count(1) == 12
    assert passes.count(2) == 5
    assert first.completion_tokens == 12
    assert [r.completion_tokens for r in short] == [5, 5]


def test_the_loop_goes_on_while_a_batch_is_generated(tiny_model):
    async def work():
        engine = Engine("m", Settings(engine="transformers", model=str(tiny_model), device="cpu"))
        await engine.start()
        asked = asyncio.ensure_future(engine.reply(request("hi", max_tokens=200)))
        ticks = 0
        while not asked.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return ticks

    assert asyncio.run(work()) > 20


def test_who_stops_waiting_takes_no_answer_from_the_others(tiny_model):
    async def work():
        engine = Engine("m", Settings(engine="transformers", model=str(tiny_model), device="cpu"))
        await engine.start()
        one, two = (asyncio.ensure_future(engine.reply(request(q))) for q in QUESTIONS[:2])
        await asyncio.sleep(0)
        one.cancel()
        return await two

    assert asyncio.run(work()) == replies(tiny_model, request(QUESTIONS[1]))[0]


def test_a_batch_that_nobody_waits_for_ends_at_the_next_token(tiny_model, passes):
    async def work():
        engine = Engine("m", Settings(engine="transformers", model=str(tiny_model), device="cpu"))
        await engine.start()
        asked = asyncio.ensure_future(engine.reply(request("hi", max_tokens=240, extra=ENDLESS)))
        while not passes:
            await asyncio.sleep(0.001)
        asked.cancel()
        await engine.close()

    asyncio.run(work())
    assert 0 < len(passes) < 200


# How an answer ends


def test_each_row_of_a_batch_has_its_own_end(tiny_model):
    asked = [request(f"question {i}", temperature=1.0, seed=3, extra=ending(4.5)) for i in range(16)]
    came = replies(tiny_model, *asked, batch_size=16)
    assert {r.finish_reason for r in came} == {"stop", "length"}
    assert all(r.completion_tokens == 12 for r in came if r.finish_reason == "length")
    assert len({r.completion_tokens for r in came if r.finish_reason == "stop"}) > 1
    assert not any(END in r.text or "<|" in r.text for r in came)


def test_an_answer_that_ends_with_its_last_allowed_token_has_stopped(tiny_model):
    (reply,) = replies(tiny_model, request("hi", max_tokens=1, extra=ending(100.0)))
    assert (reply.text, reply.finish_reason, reply.completion_tokens) == ("", "stop", 1)


def test_a_stop_text_ends_its_answer_and_is_left_out(tiny_model):
    free = replies(tiny_model, *map(request, QUESTIONS))
    stop = free[1].text[5:8]
    came = replies(tiny_model, *(request(q, stop=["never said", stop]) for q in QUESTIONS))
    assert came[1].text == free[1].text[: free[1].text.index(stop)]
    assert came[1].finish_reason == "stop"
    assert 0 < came[1].completion_tokens < free[1].completion_tokens
    assert [came[0], came[2]] == [free[0], free[2]]


def test_a_prompt_longer_than_the_context_fails_alone(tiny_model):
    short, long = replies(tiny_model, request("hi", extra=ENDLESS), request("word " * CONTEXT, extra=ENDLESS))
    assert short.finish_reason == "length"
    assert isinstance(long, RequestFailed)
    assert long.reason == "context_length"
    assert not long.transient
    assert f"at most {CONTEXT - 1}" in long.detail


def test_an_answer_ends_with_the_context_and_leaves_the_others_their_length(tiny_model):
    asked = [request(q, max_tokens=40, extra=ENDLESS) for q in ("hi", "a b " * 75)]
    short, cut = replies(tiny_model, *asked)
    assert [short, cut] == replies(tiny_model, *asked, together=False)
    assert short.completion_tokens == 40
    assert cut.finish_reason == "length"
    assert cut.prompt_tokens + cut.completion_tokens == CONTEXT


# Chance


def drawn(folder, *seeds, **sampling):
    return [r.text for r in replies(folder, *(request("hi", temperature=1.0, seed=s, **sampling) for s in seeds))]


def test_the_same_seed_draws_the_same_text_and_another_seed_another(tiny_model):
    first = drawn(tiny_model, 1, 2)
    assert first == drawn(tiny_model, 1, 2)
    assert first[0] != first[1]


def test_without_a_seed_every_answer_is_drawn_anew(tiny_model):
    came = replies(tiny_model, *(request("hi", temperature=1.0) for _ in range(3)))
    assert len({r.text for r in came}) == 3


def test_a_seed_leaves_the_rest_of_the_process_its_chance(tiny_model):
    before = torch.random.get_rng_state()
    drawn(tiny_model, 7)
    assert torch.equal(before, torch.random.get_rng_state())


def test_all_tokens_may_be_drawn_unless_top_k_is_asked_for(tiny_model):
    def hot(**extra):
        (reply,) = replies(tiny_model, request("hi", temperature=5.0, seed=0, max_tokens=60, extra={**ENDLESS, **extra}))
        return reply.text

    (greedy,) = replies(tiny_model, request("hi", max_tokens=60, extra=ENDLESS))
    assert hot(top_k=1) == greedy.text
    assert len({hot(), hot(top_k=50), greedy.text}) == 3


# Settings


def test_an_unknown_extra_is_refused_by_name(tiny_model):
    for key in ("topk", "custom_generate", "max_new_tokens"):
        (error,) = replies(tiny_model, request("hi", extra={key: 3}))
        assert isinstance(error, EngineError)
        assert f"'{key}'" in str(error)


def test_an_extra_of_the_wrong_kind_is_refused(tiny_model):
    (error,) = replies(tiny_model, request("hi", temperature=1.0, extra={"top_k": "many"}))
    assert isinstance(error, EngineError)
    assert "top_k" in str(error)


def test_chat_template_kwargs_reach_the_template(copy):
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text() + "{% if brief %}Be brief.{% endif %}")
    plain, brief = replies(copy, request("hi"), request("hi", extra={"chat_template_kwargs": {"brief": True}}))
    assert brief.prompt_tokens > plain.prompt_tokens


def test_messages_that_the_template_refuses_fail_alone(copy):
    template = copy / "chat_template.jinja"
    template.write_text("{% if messages[0].content == 'no' %}{{ raise_exception('no system turn') }}{% endif %}" + template.read_text())
    good, bad = replies(copy, request("hi"), request("no"))
    assert good.text
    assert isinstance(bad, RequestFailed)
    assert (bad.reason, "no system turn" in bad.detail) == ("rejected", True)


@pytest.mark.parametrize("field", [{"device": "gpu"}, {"batch_size": 0}, {"dtype": "int3"}, {"batchsize": 3}])
def test_a_wrong_setting_is_refused_when_the_recipe_is_read(field):
    with pytest.raises(RecipeError, match=next(iter(field))):
        plugin_settings("engines", {"engine": "transformers", **field}, "engine", "models.m", ModelSettings)


# What is loaded


def test_two_models_of_a_fresh_process_load_at_once(tiny_model):
    script = """if True:
        import asyncio, sys
        from pipeline.engines.transformers import Engine, Settings
        engines = [Engine(n, Settings(engine="transformers", model=sys.argv[1])) for n in "ab"]
        async def start():
            await asyncio.gather(*(e.start() for e in engines))
        asyncio.run(start())"""
    subprocess.run([sys.executable, "-c", script, str(tiny_model)], check=True, cwd=ROOT, timeout=120)


def refusal(folder, **fields):
    with pytest.raises(EngineError) as caught:
        replies(folder, request("hi"), **fields)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_tokenizer_without_a_chat_template_is_refused(copy):
    (copy / "chat_template.jinja").unlink()
    assert "no chat template" in refusal(copy)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert f"{tmp_path / 'nowhere'}, which is no folder here" in refusal(tmp_path / "nowhere")


def test_pickled_weights_are_not_loaded(copy, tiny_model):
    (copy / "model.safetensors").unlink()
    torch.save({"w": torch.zeros(1)}, copy / "pytorch_model.bin")
    assert "safetensors" in refusal(copy)
    with pytest.raises(EngineError, match=r"no \*\.safetensors"):
        folder_fingerprint(copy)


def test_code_that_comes_with_a_model_is_not_run(copy, tmp_path):
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "code of its own, which is never run" in refusal(copy)
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_missing_are_not_made_up(copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "lack weights, such as lm_head.weight" in refusal(copy)


def test_without_torch_the_extra_to_install_is_named(tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "install pairsmith[train]" in refusal(tiny_model)


def test_a_device_that_is_not_there_is_named(tiny_model):
    if torch.backends.mps.is_available():
        pytest.skip("this machine has the device")
    engine = Engine("m", Settings(engine="transformers", model=str(tiny_model), device="mps"))
    with pytest.raises(EngineError, match="device is mps"):
        asyncio.run(engine.start())


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory):
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install -e '.[train]'")
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(folder)
    return folder


def test_an_adapter_changes_the_answers_and_the_revision(tiny_model, adapter):
    assert replies(tiny_model, request("hi"), adapter=str(adapter)) != replies(tiny_model, request("hi"))
    assert revision(tiny_model, adapter=str(adapter)).startswith(f"{revision(tiny_model)}+")
    assert revision("some/model", adapter=str(adapter)) == f"+{folder_fingerprint(adapter)}"


def test_a_pickled_adapter_is_not_loaded(tiny_model, adapter, tmp_path):
    pickled = shutil.copytree(adapter, tmp_path / "adapter")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    assert "adapter_model.safetensors" in refusal(tiny_model, adapter=str(pickled))


# What a reply is filed under


def revision(model, **fields):
    return Engine("m", Settings(engine="transformers", model=str(model), **fields)).revision()


def test_a_hub_name_is_known_by_the_revision_it_was_given():
    assert revision("some/model") is None
    assert revision("some/model", revision="abc") == "abc"


def test_a_copy_of_a_model_has_its_fingerprint_and_its_age_does_not_matter(tiny_model, copy):
    os.utime(copy / "model.safetensors", (1, 1))
    (copy / "README.md").write_text("about")
    (copy / "checkpoint-1").mkdir()
    assert revision(copy) == revision(tiny_model) == folder_fingerprint(tiny_model)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"])
def test_one_changed_byte_changes_the_fingerprint(copy, file):
    before = folder_fingerprint(copy)
    times = (copy / file).stat()
    content = bytearray((copy / file).read_bytes())
    content[-1] ^= 1
    (copy / file).write_bytes(content)
    os.utime(copy / file, (times.st_atime, times.st_mtime))
    assert folder_fingerprint(copy) != before


def test_a_file_under_another_name_changes_the_fingerprint(copy):
    before = folder_fingerprint(copy)
    (copy / "chat_template.jinja").rename(copy / "other.jinja")
    assert folder_fingerprint(copy) != before


def test_a_reply_is_generated_once_for_the_same_weights(copy, tmp_path, passes):
    settings = {"engine": "transformers", "model": str(copy), "device": "cpu", "sampling": GREEDY}

    def ask():
        return with_model(settings, tmp_path / "cache.sqlite", lambda m: asyncio.gather(*(m.ask(user(q)) for q in QUESTIONS)))

    first = ask()
    generated = len(passes)
    assert ask() == first
    assert len(passes) == generated > 0
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert ask() == first
    assert len(passes) == 2 * generated
