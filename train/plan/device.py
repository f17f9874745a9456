"""What there is to train on: its free memory, and how fast it multiplies, which takes about a third of a second to find out."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from train.base import this_device

_GIB = 2.0**30

_SECONDS = 0.3
"""For the measurement of how fast the device multiplies."""


@dataclass(frozen=True, slots=True)
class Device:
    """One of the devices to train on; the others are taken to be like it."""

    kind: Literal["cuda", "cpu"]
    name: str
    free: float
    """GiB that can be had now."""
    total: float
    """GiB."""
    bf16: bool = True
    """Whether it computes in bfloat16 itself."""
    count: int = 1
    """Devices of this kind on this machine."""
    flops: float | None = None
    """Multiplications and additions a second in a matrix product, as measured; None where it was not measured."""


def find_device(*, measure: bool = True) -> Device:
    """The GPU that torch would use, else the CPU with the memory that this container may still take."""
    import torch

    kind, bf16 = (found := this_device()).kind, found.bf16
    flops = _multiply(kind, bf16) if measure else None
    if kind == "cuda":
        free, total = torch.cuda.mem_get_info()
        return Device("cuda", torch.cuda.get_device_name(), free / _GIB, total / _GIB, bf16, torch.cuda.device_count(), flops)
    return Device("cpu", f"CPU, {torch.get_num_threads()} threads", free_gib(), total_gib(), bf16, 1, flops)


def total_gib() -> float:
    return min(_machine("MemTotal"), _container_limit() or float("inf"))


def free_gib() -> float:
    """GiB of main memory that can be had now, on this machine and in this container."""
    free, limit = _machine("MemAvailable"), _container_limit()
    return free if limit is None else min(free, limit - _container_use())


def _machine(field: str) -> float:
    meminfo = Path("/proc/meminfo")
    lines = dict(line.split(":") for line in meminfo.read_text(encoding="ascii").splitlines()) if meminfo.exists() else {}
    if field in lines:
        return int(lines[field].split()[0]) / 2**20
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB


_CGROUP = Path("/sys/fs/cgroup")


def _container_limit() -> float | None:
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        if (_CGROUP / name).exists() and (text := (_CGROUP / name).read_text().strip()).isdigit() and int(text) < 2**60:
            return int(text) / _GIB
    return None


def _container_use() -> float:
    """What processes hold; files in the cache give way and do not count."""
    for name, field in (("memory.stat", "anon"), ("memory/memory.stat", "total_rss")):
        if (_CGROUP / name).exists():
            stat = dict(line.split() for line in (_CGROUP / name).read_text().splitlines())
            return int(stat.get(field, 0)) / _GIB
    return 0.0


def _multiply(kind: str, bf16: bool) -> float:
    """FLOP a second of a square matrix product, the best of several: the others had to share the machine."""
    import torch

    size = 4096 if kind == "cuda" else 512
    a = torch.ones((size, size), device=kind, dtype=torch.bfloat16 if bf16 else torch.float32)
    out = torch.empty_like(a)
    best, ends = float("inf"), time.perf_counter() + _SECONDS
    _timed(a, out, kind)  # the first one also starts the library
    while time.perf_counter() < ends:
        best = min(best, _timed(a, out, kind))
    return 2 * size**3 / best


def _timed(a: Any, out: Any, kind: str) -> float:
    import torch

    began = time.perf_counter()
    torch.mm(a, a, out=out)
    if kind == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Spread:
    """How a training is divided among devices."""

    world: int = 1
    shared: Literal["nothing", "optimizer", "gradients", "weights"] = "nothing"
    """See train/plan/memory.py."""
    engine: Literal["", "deepspeed", "fsdp"] = ""


def find_spread(options: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Spread:
    """From the trainer's `deepspeed` or `fsdp`, or from what `accelerate launch` puts into the environment."""
    env = os.environ if environment is None else environment
    world = int(env.get("WORLD_SIZE", "1"))
    if (stage := _zero_stage(options.get("deepspeed"), env)) is not None:
        return Spread(world, ("nothing", "optimizer", "gradients", "weights")[min(stage, 3)], "deepspeed")
    fsdp = str(options.get("fsdp") or "")
    if fsdp or env.get("ACCELERATE_USE_FSDP") == "true":
        half = "grad_op" in fsdp or env.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() in ("false", "shard_grad_op")
        return Spread(world, "gradients" if half else "weights", "fsdp")
    return Spread(world)


def _zero_stage(given: Any, env: Mapping[str, str]) -> int | None:
    if not given:
        return int(env.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")) if env.get("ACCELERATE_USE_DEEPSPEED") == "true" else None
    if isinstance(given, str):
        import orjson

        try:
            given = orjson.loads(Path(given).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return 0  # DeepSpeed will say what is wrong with its file
    return int(given.get("zero_optimization", {}).get("stage", 0)) if isinstance(given, dict) else 0
