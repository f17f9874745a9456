"""The vllm engine and the real server: every trap that is known of it, on a model with random weights.

One server is up for most of these tests (tests/pipeline/conftest.py); a start costs 25 seconds of two cores.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from pipeline.engines._vllm_server import Server
from pipeline.engines.vllm import launch_of
from pipeline.errors import EngineError
from pipeline.model import make_engine
from pipeline.records import Request
from pipeline.settings import ModelSettings, plugin_settings
from tests.harness.paid import user, with_model
from tests.harness.vllm import NO_VLLM, ROOT, processes, wait_until

pytestmark = [pytest.mark.server, pytest.mark.timeout(600), pytest.mark.skipif(NO_VLLM is not None, reason=NO_VLLM or "")]

VERDICT = {
    "type": "object",
    "properties": {"winner": {"type": "string", "enum": ["A", "B", "tie"]}, "sure": {"type": "integer", "enum": [0, 1, 2]}},
    "required": ["winner", "sure"],
    "additionalProperties": False,
}


@pytest.fixture
def place(vllm_models):
    return vllm_models


@pytest.fixture
def base(vllm_base):
    return vllm_base


def settings(**fields):
    return plugin_settings("engines", {"engine": "vllm", **fields}, "engine", "models.m", ModelSettings)


def ask(fields, cache, *texts, schema=None, during=None):
    """The replies; `during` is awaited while they are asked for."""

    async def work(model):
        replies = asyncio.gather(*(model.ask(user(t), schema=schema) for t in texts), return_exceptions=True)
        if during is not None:
            await during(model)
        return await replies

    return with_model({"engine": "vllm", **fields}, cache, work)


# --- first those that start servers of their own


TWO = """
import asyncio, sys
from pipeline.model import make_engine
from pipeline.records import Request
from pipeline.records import Request
from pipeline.settings import ModelSettings, plugin_settings

def engine(name, folder):
    return make_engine(name, plugin_settings("engines", {"engine": "vllm", "model": folder}, "engine", name, ModelSettings))

async def work():
    engines = [engine(str(n), folder) for n, folder in enumerate(sys.argv[1:])]
    await asyncio.gather(*(e.start() for e in engines))
    ask = Request(({"role": "user", "content": "hello"},), {"temperature": 0.0, "max_tokens": 20}, 0, None, None)
    print(*[(await e.reply(ask)).text.encode() for e in engines], sep="\\n", flush=True)
    await asyncio.sleep(1000)

asyncio.run(work())
"""


def test_two_servers_side_by_side_have_a_core_each_and_neither_outlives_a_killed_owner(place):
    command = [sys.executable, "-c", TWO, str(place / "base"), str(place / "other")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as owner:
        texts = [owner.stdout.readline() for _ in range(2)]
        ours = processes(str(place))
        owner.kill()
    assert all(len(t) > 10 for t in texts)
    assert texts[0] != texts[1]
    assert sum(p.title.startswith("VLLM::EngineCore") for p in ours) == 2
    bound = {p.environment.get("VLLM_CPU_OMP_THREADS_BIND") for p in ours if "VLLM_API_KEY" in p.environment}
    assert len(bound) == 2
    assert None not in bound
    assert wait_until(lambda: not processes(str(place)), 60)


def test_a_folder_that_holds_no_model_is_an_error_with_the_logs_last_lines(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    (tmp_path / "model.safetensors").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # its log is kept
    (error,) = ask({"model": str(tmp_path)}, tmp_path / "c.sqlite", "a")
    assert isinstance(error, EngineError)
    assert "when it was started" in str(error)
    assert "no-such-model" in str(error)
    assert not processes(str(tmp_path))


# --- one server for the rest


def server_of(base):
    return Server.of(launch_of("m", settings(**base)))


def test_seeded_requests_at_64_leave_the_server_alive_and_say_the_same_twice(base, tmp_path):
    life = server_of(base).life
    texts = [f"question {n}" for n in range(192)]
    once, twice = (ask(base, tmp_path / f"{n}.sqlite", *texts) for n in range(2))
    assert all(r.completion_tokens > 0 for r in once)
    assert len({r.text for r in once}) > 150
    # Bit equality across batch shapes is not promised; on this CPU it has always been there.
    assert sum(a.text == b.text for a, b in zip(once, twice, strict=True)) >= 190
    assert server_of(base).life == life


def test_a_weak_models_verdicts_are_all_valid_json(base, tmp_path):
    replies = ask(base, tmp_path / "c.sqlite", *(f"Which is better? {n}" for n in range(20)), schema=VERDICT)
    verdicts = [json.loads(r.text) for r in replies]
    assert all(v["winner"] in ("A", "B", "tie") and v["sure"] in (0, 1, 2) for v in verdicts)
    assert all(r.finish_reason == "stop" for r in replies)


def test_base_and_adapters_speak_differently_from_one_server(base, place, tmp_path):
    before = len(processes(str(place)))
    exact = {**base, "sampling": {"temperature": 0.0, "max_tokens": 24}}
    entries = [{}, {"adapter": str(place / "adapter")}, {"adapter": str(place / "late")}]
    said = [tuple(r.text for r in ask({**exact, **e}, tmp_path / "c.sqlite", "a", "b", "c")) for e in entries]
    assert len(set(said)) == 3
    assert len(processes(str(place))) == before
    late = make_engine("m", settings(**exact, adapter=str(place / "late")))
    loaded = server_of(base)._ask("GET", "/v1/models", 10)[1]
    assert late._adapter.name not in loaded  # it was unloaded when its model was closed
    assert str(place / "base") in loaded


def test_base_and_adapters_asked_at_once_say_what_each_says_alone(base, place):
    """In one batch with an adapter's requests, vLLM's CPU build gives the base model the adapter of its last slot."""
    entries = [{}, {"adapter": str(place / "adapter")}, {"adapter": str(place / "late")}]
    engines = [make_engine("m", settings(**base, **entry)) for entry in entries]

    def ask(engine, n):
        return engine.reply(Request(tuple(user(f"question {n}")), {"temperature": 0.0, "max_tokens": 24}, 0, None, None))

    async def work():
        for engine in engines:
            await engine.start()
        alone = [[(await ask(engine, n)).text for n in range(12)] for engine in engines]
        mixed = await asyncio.gather(*(ask(engine, n) for n in range(12) for engine in engines))
        for engine in engines:
            await engine.close()
        return alone, [[reply.text for reply in mixed[k::3]] for k in range(3)]

    alone, mixed = asyncio.run(work())
    assert [sum(a == m for a, m in zip(*texts, strict=True)) >= 11 for texts in zip(alone, mixed, strict=True)] == [True] * 3


def test_a_server_that_runs_already_is_asked_by_its_url(base, tmp_path, monkeypatch):
    server = server_of(base)
    monkeypatch.setenv("RUNNING_KEY", server.key)
    given = {**base, "url": server.url, "api_key_env": "RUNNING_KEY"}
    (there,) = ask(given, tmp_path / "1.sqlite", "hello")
    (ours,) = ask(base, tmp_path / "2.sqlite", "hello")
    assert there.text == ours.text
    (unknown,) = ask({**given, "model": "nobody"}, tmp_path / "3.sqlite", "hello")
    assert "it serves: " in str(unknown)
    monkeypatch.setenv("RUNNING_KEY", "wrong")
    (refused,) = ask(given, tmp_path / "4.sqlite", "hello")
    assert "RUNNING_KEY" in str(refused)


def test_a_prompt_longer_than_the_context_is_data(base, tmp_path):
    (long, short) = ask(base, tmp_path / "c.sqlite", "word " * 300, "word")
    assert (long.reason, long.transient) == ("context_length", False)
    assert short.text


@pytest.mark.parametrize("victim", ["vllm.entrypoints", "VLLM::EngineCore"])
def test_a_server_that_is_killed_in_mid_run_costs_no_reply(base, place, tmp_path, victim):
    life = server_of(base).life

    async def kill(model):
        while not count(tmp_path / "c.sqlite"):
            await asyncio.sleep(0.02)
        (pid,) = (p.pid for p in processes(str(place)) if victim in p.title and "_guardian" not in p.title)
        os.kill(pid, signal.SIGKILL)

    fields = {**base, "retries": 0, "concurrency": 32, "sampling": {"max_tokens": 100, "seed": 1, "extra": {"ignore_eos": True}}}
    replies = ask(fields, tmp_path / "c.sqlite", *(f"question {n}" for n in range(300)), during=kill)
    assert [r for r in replies if isinstance(r, Exception)] == []
    assert all(r.completion_tokens == 100 for r in replies)
    assert server_of(base).life == life + 1


def count(cache):
    import sqlite3

    with sqlite3.connect(cache) as db:
        return db.execute("select count(*) from replies").fetchone()[0]
