"""An adapter is given to a running vLLM server, or one sentence says why not."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.errors import EngineError, RecipeError
from pipeline.evaluate.serving import serve_adapter

ADAPTER = Path("releases/0002")


class Server(ThreadingHTTPServer):
    """Answers each call with the next of `answers`, and keeps what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.keys, self.answers = [], [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        self.server.keys.append(self.headers["Authorization"])
        status, said = self.server.answers.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_the_weights_behind_a_name_are_exchanged_in_one_step(server, end):
    server.answers = [(200, "Success")]
    serve_adapter(server.url + end, "current", ADAPTER)
    assert server.asked == [("/v1/load_lora_adapter", {"lora_name": "current", "lora_path": str(ADAPTER), "load_inplace": True})]


def test_a_server_that_knows_no_exchange_unloads_the_former_one(server):
    server.answers = [(400, "The lora adapter 'current' has already been loaded."), (200, ""), (200, "")]
    serve_adapter(server.url, "current", ADAPTER)
    assert [path for path, _ in server.asked] == ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/load_lora_adapter"]


def test_the_servers_key_comes_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "k1")
    server.answers = [(200, "")]
    serve_adapter(server.url, "current", ADAPTER)
    assert server.keys == ["Bearer k1"]


@pytest.mark.parametrize(
    ("status", "said", "sentence"),
    [
        (404, '{"detail":"Not Found"}', "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"),
        (401, '{"error":"Unauthorized"}', "export VLLM_API_KEY="),
        (404, "No adapter found for /x", "must see that folder under the same path"),
        (500, "Call to add_lora method failed: LoRA rank 64 is greater than max_lora_rank 16", "max_lora_rank 16"),
    ],
)
def test_a_refusal_is_one_sentence_that_says_what_to_do(server, status, said, sentence):
    server.answers = [(status, said)]
    with pytest.raises(EngineError, match=sentence):
        serve_adapter(server.url, "current", ADAPTER)


def test_nobody_at_the_url_is_one_sentence():
    with pytest.raises(EngineError, match=r"no vLLM server answers at http://127\.0\.0\.1:9"):
        serve_adapter("http://127.0.0.1:9", "current", ADAPTER)


@pytest.mark.parametrize("url", ["localhost:8000", "no url"])
def test_what_is_no_url_is_one_sentence(url):
    with pytest.raises(RecipeError, match="--server"):
        serve_adapter(url, "current", ADAPTER)
