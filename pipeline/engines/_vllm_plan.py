"""Whether models fit where they shall run, before anything is started: arithmetic on file sizes and a model's config.json.

a server needs, on each of its devices,
    weights    its *.safetensors, times the width they are served in over the width they are stored in, / tensor parallel
    KV cache   2 x layers x KV heads x head size x width x longest sequence, for one sequence, / tensor parallel
    overhead   what vLLM takes for itself (measured: _CPU_GIB, _GPU_GIB)
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import orjson

from pipeline.engines._vllm_command import Launch, interpreter, is_cpu_build
from pipeline.errors import EngineError, RecipeError
from pipeline.settings import place_of

_GIB = 2.0**30

_CPU_GIB = 2.0
"""Of a server with a tiny model on the CPU, all its processes, without weights and KV cache (measured: 1.5 to 1.9)."""

_GPU_GIB = 1.5
"""Of a GPU: CUDA context, graphs, activations."""

_GPU_SHARE = 0.9
"""Of a GPU that servers without gpu_memory_utilization share evenly; the rest is for whatever else uses the device."""

_CPU_HEADS = frozenset({32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512})
"""Head sizes of the CPU build's attention. With another one the server becomes healthy, and dies on its first request."""

_WIDTH = {"float32": 4.0, "float": 4.0, "bfloat16": 2.0, "float16": 2.0, "half": 2.0}
"""Bytes a number."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What is there to serve on. A CPU is one device, with the memory that is free now; a GPU's is all that it has."""

    kind: Literal["cpu", "gpu"]
    gib: Mapping[int, float]
    """Memory by device number."""


@dataclass(frozen=True)
class Weights:
    """A model's folder: all that the arithmetic needs to know of it, without loading anything."""

    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        try:
            config = orjson.loads((self.folder / "config.json").read_bytes())
            return {**config, **config.get("text_config", {})}
        except (OSError, orjson.JSONDecodeError, AttributeError, TypeError):
            return {}  # vLLM will say what is wrong with it

    @property
    def length(self) -> int | None:
        """The longest sequence, in tokens."""
        return _number(self.config, "max_position_embeddings")

    @property
    def head(self) -> int | None:
        heads, hidden = _number(self.config, "num_attention_heads"), _number(self.config, "hidden_size")
        return _number(self.config, "head_dim") or (hidden // heads if heads and hidden else None)

    def width(self, launch: Launch) -> float:
        """Bytes of a number as it is served: `auto` serves float32 weights in bfloat16."""
        wanted = _WIDTH.get(launch.dtype, 0.0)
        return wanted or min(self._stored, 2.0)

    @property
    def _stored(self) -> float:
        return _WIDTH.get(str(self.config.get("dtype") or self.config.get("torch_dtype")), 2.0)

    def gib(self, launch: Launch) -> float:
        size = sum(f.stat().st_size for f in self.folder.glob("*.safetensors")) / _GIB / launch.tensor_parallel_size
        if self.config.get("quantization_config"):
            return size
        return size * (1.0 if launch.quantization else self.width(launch)) / self._stored

    def kv_gib(self, launch: Launch) -> float:
        """One sequence of the longest length. Models that keep less (sliding windows, state spaces) need no more than this."""
        layers = _number(self.config, "num_hidden_layers") or 0
        heads = _number(self.config, "num_key_value_heads") or _number(self.config, "num_attention_heads") or 0
        length = launch.max_model_len or self.length or 0
        return 2 * layers * heads * (self.head or 0) * self.width(launch) * length / _GIB / min(launch.tensor_parallel_size, heads or 1)


def _number(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and value > 0 else None


def weights_of(launch: Launch) -> Weights | None:
    """The model's files: its folder, or where the hub's cache has them; None where they are not on this machine yet."""
    folder = Path(launch.model)
    if folder.is_dir():
        return Weights(folder)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        known = try_to_load_from_cache(launch.model, "config.json", revision=launch.revision)
    except HFValidationError:
        return None
    return Weights(Path(known).parent) if isinstance(known, str) else None


def longest(launch: Launch) -> int | None:
    """The longest sequence that a server is started for, in tokens; None where only the server will know."""
    weights = weights_of(launch)
    return launch.max_model_len or (weights.length if weights else None)


def cpu_kv_gib(launch: Launch) -> float:
    """The KV cache on a CPU: as it is set, else room for 64 of the longest sequences up to 4 GiB, but for one at least."""
    if launch.cpu_kv_cache_gib is not None:
        return launch.cpu_kv_cache_gib
    weights = weights_of(launch)
    one = weights.kv_gib(launch) if weights else 0.0
    # vLLM counts in blocks of 128 tokens; an eighth of a GiB holds them for every small model.
    return max(one * 1.05, min(64 * one, 4.0), 0.125) if one else 4.0


def shares(launches: Sequence[Launch], devices: Devices | None = None) -> dict[Launch, float]:
    """Of a GPU's memory, for servers that are up together: as it is set, else what is left of 0.9, evenly."""
    found = {}
    for launch in launches:
        beside = [other for other in launches if set(placed(other, devices)) & set(placed(launch, devices))]
        taken = sum(other.gpu_memory_utilization or 0.0 for other in beside)
        open_ones = sum(other.gpu_memory_utilization is None for other in beside)
        found[launch] = launch.gpu_memory_utilization or (_GPU_SHARE - taken) / open_ones
    return found


def placed(launch: Launch, devices: Devices | None) -> tuple[int | str, ...]:
    """The devices of a server: as they are set, else the first so many."""
    if launch.device:
        return tuple(int(d) if d.isdigit() else d for d in launch.device.split(","))
    visible = sorted(devices.gib) if devices else []
    count = launch.tensor_parallel_size * launch.data_parallel_size
    return tuple(visible[:count] if visible else range(count))


def split_cores(cores: Sequence[int], servers: int, number: int) -> str | None:
    """The cores of the server `number` of so many, as VLLM_CPU_OMP_THREADS_BIND takes them; None (no binding) where it is alone."""
    if servers < 2:
        return None
    if len(cores) < servers:
        return str(cores[number % len(cores)])
    first, last = (len(cores) * n // servers for n in (number, number + 1))
    return ",".join(map(str, cores[first:last]))


def check_launches(launches: Mapping[str, Launch], devices: Devices | None, *, in_turn: bool) -> None:
    """Raise RecipeError, in one sentence with the figures, where the servers of these entries do not fit their devices."""
    if devices is None:
        return
    entries: dict[Launch, str] = {}
    for entry, launch in launches.items():
        entries.setdefault(launch, entry)
    for launch, entry in entries.items():
        weights = weights_of(launch)
        if weights and devices.kind == "cpu" and weights.head and weights.head not in _CPU_HEADS:
            raise RecipeError(
                f"{place_of(entry)}: {launch.model} has attention heads of size {weights.head}, and vLLM on a CPU knows "
                f"{', '.join(map(str, sorted(_CPU_HEADS)))} only; use `engine: transformers` for it"
            )
    groups = [[launch] for launch in entries] if in_turn else [list(entries)]
    for group in groups:
        (_check_cpu if devices.kind == "cpu" else _check_gpus)(group, entries, devices)


def _check_cpu(group: Sequence[Launch], entries: Mapping[Launch, str], devices: Devices) -> None:
    known = {launch: weights for launch in group if (weights := weights_of(launch))}
    needs = {launch: weights.gib(launch) + cpu_kv_gib(launch) + _CPU_GIB for launch, weights in known.items()}
    free = sum(devices.gib.values())
    if sum(needs.values()) > free:
        each = ", ".join(f"{place_of(entries[launch])} {gib:.1f}" for launch, gib in needs.items())
        least = ", ".join(f"{max(known[n].kv_gib(n) * 1.05, 0.125):.2f}" for n in needs)
        raise RecipeError(
            f"vLLM needs {sum(needs.values()):.1f} GiB of memory ({each}), and {free:.1f} GiB are free; "
            f"lower cpu_kv_cache_gib (to {least} at the least) or max_model_len, or take smaller models"
        )


def _check_gpus(group: Sequence[Launch], entries: Mapping[Launch, str], devices: Devices) -> None:
    share = shares(group, devices)
    for launch in group:
        wanted, size = placed(launch, devices), launch.tensor_parallel_size * launch.data_parallel_size
        there = [d for d in wanted if isinstance(d, str) or d in devices.gib]
        if len(there) < size or len(there) < len(wanted):
            raise RecipeError(
                f"{place_of(entries[launch])}: tensor_parallel_size {launch.tensor_parallel_size} x data_parallel_size "
                f"{launch.data_parallel_size} takes {size} GPUs, device names {launch.device or 'none'}, and this machine has "
                f"{', '.join(map(str, sorted(devices.gib))) or 'none'}; name as many as are there"
            )
    for device, gib in devices.gib.items():
        here = [launch for launch in group if device in placed(launch, devices)]
        total = sum(share[launch] for launch in here)
        needs = {launch: _gpu_need(launch) for launch in here}
        least = {launch: need / gib for launch, need in needs.items() if need}
        fits = " and ".join(f"{place_of(entries[n])}.gpu_memory_utilization: {_up(part)}" for n, part in least.items())
        mend = (
            f"set {fits}"
            if fits and sum(_up(part) for part in least.values()) <= 1
            else "give them a device each, let them run in turn, or lower max_model_len or quantize"
        )
        if total > 1.0 + 1e-9 or min(share.values()) <= 0:
            raise RecipeError(
                f"the servers on GPU {device} ask for {total:.2f} of its memory "
                f"({', '.join(f'{place_of(entries[n])} {share[n]:.2f}' for n in here)}), and there is 1; {mend}"
            )
        for launch, need in needs.items():
            if need is not None and need > share[launch] * gib:
                raise RecipeError(
                    f"{place_of(entries[launch])} needs {need:.1f} GiB of GPU {device} (weights, the KV cache of one sequence of "
                    f"{longest(launch)} tokens, {_GPU_GIB:g} for vLLM itself), and its share of {share[launch]:.2f} is "
                    f"{share[launch] * gib:.1f} GiB; {mend}"
                )


def _gpu_need(launch: Launch) -> float | None:
    weights = weights_of(launch)
    return weights.gib(launch) + weights.kv_gib(launch) + _GPU_GIB if weights else None


def _up(part: float) -> float:
    """Rounded up to a hundredth."""
    return -int(-part * 100 // 1) / 100


def devices_at_hand() -> Devices | None:
    """What this machine's vLLM would serve on; None where it cannot be told (no vLLM, no nvidia-smi)."""
    try:
        cpu = is_cpu_build(interpreter())
    except EngineError:
        return None
    if cpu:
        return Devices("cpu", {0: _free_memory()})
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return None
    query = [smi, "--query-gpu=index,memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=60)  # noqa: S603 - fixed arguments
    found = dict(line.split(",") for line in done.stdout.splitlines() if "," in line)
    gib = {int(index): float(mib) / 1024 for index, mib in found.items() if mib.strip().isdigit()}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = [int(d) for d in visible.split(",") if d.strip().isdigit()] if visible else list(gib)
    return Devices("gpu", {d: gib[d] for d in chosen if d in gib}) if gib else None


def _free_memory() -> float:
    """GiB that can be had now, on this machine and in this container."""
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines()) if Path("/proc/meminfo").exists() else {}
    free = int(meminfo["MemAvailable"].split()[0]) / 2**20 if "MemAvailable" in meminfo else os.sysconf("SC_PHYS_PAGES") * 4096 / _GIB
    limit, use = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "stat"))
    if limit.exists() and use.exists() and limit.read_text().strip().isdigit():
        # memory.current counts cached files too, which give way.
        anon = dict(line.split() for line in use.read_text().splitlines()).get("anon", "0")
        free = min(free, (int(limit.read_text()) - int(anon)) / _GIB)
    return free
