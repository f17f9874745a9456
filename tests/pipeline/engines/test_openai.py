"""The openai engine against a real HTTP server that can be told to misbehave."""

import asyncio
import time

import pytest

from pipeline.errors import BudgetSpent, EngineError, RecipeError, RequestFailed
from pipeline.model import settle
from pipeline.settings import ModelSettings, plugin_settings
from tests.harness.paid import user, with_model
from tests.harness.stub_server import stub_server


@pytest.fixture(scope="module")
def running():
    with stub_server() as server:
        yield server


@pytest.fixture
def server(running):
    running.set_faults({})
    running.set_latency(0.0)
    running.reset()
    return running


def endpoint(server, **fields):
    return {"engine": "openai", "model": "strong", "url": server.url, "retries": 1, **fields}


def ask(settings, tmp_path, *texts, **budget):
    """The replies to these texts, errors in their places."""

    async def work(model):
        return await asyncio.gather(*(model.ask(user(t)) for t in texts), return_exceptions=True)

    return with_model(settings, tmp_path / "cache.sqlite", work, **budget)


def test_a_reply_carries_text_reason_and_tokens(server, tmp_path):
    (reply,) = ask(endpoint(server), tmp_path, "hello")
    assert reply.text
    assert reply.finish_reason == "stop"
    assert reply.prompt_tokens > 0
    assert reply.completion_tokens > 0


def test_a_reply_is_paid_for_once_across_processes_of_the_same_cache(server, tmp_path):
    first = ask(endpoint(server), tmp_path, "a", "b", "a")
    again = ask(endpoint(server), tmp_path, "b", "a", "c")
    assert server.stats()["requests"] == 3
    assert first[0] == first[2] == again[1]


def test_moving_the_server_or_its_limits_asks_nothing_again(server, tmp_path):
    ask(endpoint(server), tmp_path, "a")
    ask(endpoint(server, concurrency=3, timeout=9, url=server.url.replace("127.0.0.1", "localhost")), tmp_path, "a")
    assert server.stats()["requests"] == 1


def test_another_revision_sampling_or_sample_is_another_question(server, tmp_path):
    ask(endpoint(server), tmp_path, "a")
    ask(endpoint(server, revision="2026-11"), tmp_path, "a")
    ask(endpoint(server, sampling={"temperature": 0.1}), tmp_path, "a")
    assert server.stats()["requests"] == 3


def test_what_is_sent_is_what_the_openai_package_sends(server, tmp_path):
    import openai

    sampling = {"temperature": 0.2, "max_tokens": 9, "seed": 4, "stop": ["x"], "top_p": 0.5, "extra": {"top_k": 3}}
    ask(endpoint(server, sampling=sampling), tmp_path, "hello")
    ours = server.stats()["last"]
    client = openai.OpenAI(base_url=server.url, api_key="none")
    client.chat.completions.create(
        model="strong", messages=user("hello"), temperature=0.2, max_tokens=9, seed=4, stop=["x"], top_p=0.5, extra_body={"top_k": 3}
    )
    assert server.stats()["last"] == ours


def test_never_more_than_the_limit_is_in_flight(server, tmp_path):
    server.set_latency(0.02)
    ask(endpoint(server, concurrency=7), tmp_path, *(f"q{i}" for i in range(60)))
    assert server.stats()["max_in_flight"] == 7


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["server_error", "broken_json", "disconnect"])
def test_what_fails_once_is_asked_again(server, tmp_path, fault):
    server.set_faults({fault: 1.0, "transient": True})
    (reply,) = ask(endpoint(server), tmp_path, "hello")
    assert reply.text
    assert server.stats()["requests"] == 2


@pytest.mark.parametrize(
    ("fault", "reason"), [("server_error", "server_error"), ("broken_json", "broken_reply"), ("disconnect", "connection")]
)
def test_what_goes_on_failing_is_a_named_transient_failure(server, tmp_path, fault, reason):
    server.set_faults({fault: 1.0})
    (failure,) = ask(endpoint(server, retries=0), tmp_path, "hello")
    assert isinstance(failure, RequestFailed)
    assert failure.reason == reason
    assert failure.transient


def test_a_server_that_never_answers_is_a_timeout(server, tmp_path):
    server.set_faults({"hang": 1.0})
    (failure,) = ask(endpoint(server, retries=0, timeout=0.3), tmp_path, "hello")
    assert failure.reason == "timeout"


@pytest.mark.slow
def test_retry_after_is_honoured_by_every_request(server, tmp_path):
    server.set_faults({"rate_limited": 1.0, "retry_after": 1, "transient": True})
    began = time.monotonic()
    replies = ask(endpoint(server), tmp_path, "a", "b", "c")
    assert time.monotonic() - began >= 1.0
    assert all(reply.text for reply in replies)


@pytest.mark.slow
def test_requests_per_minute_are_kept(server, tmp_path):
    began = time.monotonic()
    ask(endpoint(server, requests_per_minute=120), tmp_path, *(f"q{i}" for i in range(122)))
    assert time.monotonic() - began >= 0.9  # 120 at once are the minute's allowance; the two others wait half a second each


@pytest.mark.slow
def test_tokens_per_minute_are_kept(server, tmp_path):
    began = time.monotonic()
    ask(endpoint(server, tokens_per_minute=6000, sampling={"max_tokens": 100}), tmp_path, *(f"q{i}" for i in range(61)))
    assert time.monotonic() - began >= 0.9  # sixty hundreds are the minute's allowance; the next is free after a second


def test_a_budget_of_requests_stops_before_the_next_one(server, tmp_path):
    replies = ask(endpoint(server), tmp_path, *(f"q{i}" for i in range(20)), requests=5)
    assert server.stats()["requests"] == 5
    assert sum(isinstance(r, BudgetSpent) for r in replies) == 15
    assert "raise budget.requests" in str(next(r for r in replies if isinstance(r, BudgetSpent)))


@pytest.mark.parametrize("budget", [{"tokens": 40}, {"dollars": 0.0001}])
def test_budgets_of_tokens_and_dollars_let_in_flight_arrive(server, tmp_path, budget):
    settings = endpoint(server, concurrency=2, price={"prompt": 1, "completion": 2})
    replies = ask(settings, tmp_path, *(f"q{i}" for i in range(40)), **budget)
    arrived = sum(not isinstance(r, Exception) for r in replies)
    assert 0 < arrived < 40
    assert arrived == server.stats()["requests"]


def test_the_budget_does_not_count_replies_from_the_cache(server, tmp_path):
    ask(endpoint(server), tmp_path, "a", "b")
    replies = ask(endpoint(server), tmp_path, "a", "b", "c", requests=1)
    assert all(not isinstance(r, Exception) for r in replies)


def test_a_prompt_longer_than_the_context_is_permanent(server, tmp_path):
    server.set_faults({"context_chars": 20})
    (failure,) = ask(endpoint(server), tmp_path, "x" * 100)
    assert (failure.reason, failure.transient) == ("context_length", False)


def test_an_unknown_model_is_named_with_those_that_are_served(server, tmp_path):
    (error,) = ask(endpoint(server, model="gpt-9"), tmp_path, "hello")
    assert isinstance(error, EngineError)
    assert "gpt-9" in str(error)
    assert "judge, strong, weak" in str(error)


@pytest.mark.slow
def test_a_wrong_address_is_one_sentence(tmp_path):
    (error,) = ask({"engine": "openai", "url": "http://127.0.0.1:9/v1"}, tmp_path, "hello")
    assert isinstance(error, EngineError)
    assert "nothing answers at http://127.0.0.1:9/v1" in str(error)


def test_an_address_that_is_none_is_refused_at_once():
    with pytest.raises(RecipeError, match="http"):
        plugin_settings("engines", {"engine": "openai", "url": "localhost:8000"}, "engine", "models.m", ModelSettings)


def test_a_missing_key_names_its_variable(server, tmp_path, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(EngineError, match="MY_KEY is not set"):
        ask(endpoint(server, api_key_env="MY_KEY"), tmp_path, "hello")


def test_a_wrong_key_is_one_sentence_without_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-wrong-secret")
    with stub_server(key="right") as server:
        (error,) = ask(endpoint(server, api_key_env="MY_KEY"), tmp_path, "hello")
    assert isinstance(error, EngineError)
    assert "MY_KEY" in str(error)
    assert "sk-wrong-secret" not in str(error)


def test_a_right_key_works_and_reaches_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-right-secret")
    with stub_server(key="sk-right-secret") as server:
        (reply,) = ask(endpoint(server, api_key_env="MY_KEY"), tmp_path, "hello")
    assert reply.text
    assert not any(b"sk-right-secret" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


def test_a_server_that_is_gone_stops_the_run_instead_of_failing_every_row(server, tmp_path):
    server.set_faults({"server_error": 1.0})
    replies = ask(endpoint(server, retries=0, concurrency=4), tmp_path, *(f"q{i}" for i in range(400)))
    assert server.stats()["requests"] < 60
    assert any(isinstance(r, EngineError) for r in replies)


def test_before_a_run_stops_what_is_in_flight_is_stored(server, tmp_path):
    async def work(model):
        with pytest.raises(BudgetSpent):
            await settle(model.ask(user(f"q{i}")) for i in range(30))

    server.set_latency(0.05)
    with_model(endpoint(server), tmp_path / "c.sqlite", work, requests=10)
    server.reset()
    ask_again = endpoint(server)

    async def again(model):
        await settle(model.ask(user(f"q{i}")) for i in range(30))

    with_model(ask_again, tmp_path / "c.sqlite", again)
    assert server.stats()["requests"] == 20


def test_the_same_question_asked_at_once_is_paid_for_once(server, tmp_path):
    server.set_latency(0.05)
    replies = ask(endpoint(server), tmp_path, *["same"] * 8)
    assert server.stats()["requests"] == 1
    assert len(set(replies)) == 1
