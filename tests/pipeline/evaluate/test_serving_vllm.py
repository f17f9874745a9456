"""A promoted adapter in a real vLLM server: it answers under its name at once, and so does the one that takes its place."""

import asyncio

import pytest

from pipeline.engines._vllm_server import Server
from pipeline.engines.vllm import launch_of
from pipeline.evaluate.releases import Releases
from pipeline.evaluate.serving import serve_adapter
from pipeline.model import make_engine
from pipeline.settings import ModelSettings, plugin_settings
from tests.harness.vllm import NO_VLLM, make_adapter, make_vllm_model

pytestmark = [pytest.mark.server, pytest.mark.timeout(240), pytest.mark.skipif(NO_VLLM is not None, reason=NO_VLLM or "")]


def test_a_running_server_answers_as_what_was_promoted_last(tmp_path, monkeypatch):
    pytest.importorskip("peft", reason="peft is not installed: pip install -e '.[train]'")
    base = make_vllm_model(tmp_path / "base")
    make_adapter(base, tmp_path / "one")
    make_adapter(base, tmp_path / "two", seed=1)
    raw = {"engine": "vllm", "model": str(base), "adapter": str(tmp_path / "one")}
    settings = plugin_settings("engines", raw, "engine", "models.m", ModelSettings)
    keeper = make_engine("keeper", settings)
    asyncio.run(keeper.start())
    try:
        server = Server.of(launch_of("keeper", settings))
        monkeypatch.setenv("VLLM_API_KEY", server.key)
        releases, texts = Releases(tmp_path / "models"), [say(server, str(base))]
        for name in ("one", "two"):
            release = releases.stage(tmp_path / name, {"name": name, "kind": "adapter"})
            serve_adapter(server.url, "current", release.path)
            releases.switch(release, "promote")
            texts.append(say(server, "current"))
        serve_adapter(server.url, "current", releases.before(releases.current()).path)
        texts.append(say(server, "current"))
    finally:
        asyncio.run(keeper.close())
    plain, one, two, back = texts
    assert len({plain, one, two}) == 3
    assert back == one


def say(server, model):
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 24}
    import httpx

    answer = httpx.post(f"{server.url}/chat/completions", json=body, headers={"Authorization": f"Bearer {server.key}"}, timeout=60)
    return answer.json()["choices"][0]["message"]["content"]
