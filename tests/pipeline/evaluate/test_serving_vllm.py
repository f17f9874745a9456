"""A promoted adapter in a real vLLM server: it answers under its name at once, and so does the one that takes its place."""

import pytest

from pipeline.engines._vllm_server import Server
from pipeline.engines.vllm import launch_of
from pipeline.evaluate.releases import Releases
from pipeline.evaluate.serving import serve_adapter
from pipeline.settings import ModelSettings, plugin_settings
from tests.harness.vllm import NO_VLLM

pytestmark = [pytest.mark.server, pytest.mark.timeout(600), pytest.mark.skipif(NO_VLLM is not None, reason=NO_VLLM or "")]


def test_a_running_server_answers_as_what_was_promoted_last(vllm_base, vllm_models, tmp_path, monkeypatch):
    raw = {"engine": "vllm", **vllm_base}
    server = Server.of(launch_of("m", plugin_settings("engines", raw, "engine", "models.m", ModelSettings)))
    monkeypatch.setenv("VLLM_API_KEY", server.key)
    releases, texts = Releases(tmp_path / "models"), [say(server, vllm_base["model"])]
    for name in ("adapter", "late"):
        release = releases.stage(vllm_models / name, {"name": name, "kind": "adapter"})
        serve_adapter(server.url, "current", release.path)
        releases.switch(release, "promote")
        texts.append(say(server, "current"))
    serve_adapter(server.url, "current", releases.before(releases.current()).path)
    texts.append(say(server, "current"))
    plain, one, two, back = texts
    assert len({plain, one, two}) == 3
    assert back == one


def say(server, model):
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 24}
    import httpx

    answer = httpx.post(f"{server.url}/chat/completions", json=body, headers={"Authorization": f"Bearer {server.key}"}, timeout=60)
    return answer.json()["choices"][0]["message"]["content"]
