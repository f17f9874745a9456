"""How many steps a training takes, and about how long: arithmetic on its matrix products and the speed of the device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from train.plan.device import Device
from train.plan.lengths import Lengths
from train.plan.memory import Load
from train.plan.sizes import Sizes

_REACHED = (0.65, 0.2)
"""Share of the measured speed of one large matrix product that a training reaches, at best and at worst: the rest goes into
attention, norms, small products, waiting for memory."""

_CALL_S = {"cuda": (5e-6, 25e-6), "cpu": (8e-6, 60e-6)}
"""Seconds that one operation costs besides its arithmetic; of a small model this is most of a step."""

_CALLS = {"full": 45, "lora": 75, "qlora": 90}
"""Operations in one pass through one layer."""

_UNPACKED_S = {"cuda": (2e-12, 1e-11), "cpu": (5e-10, 3e-9)}
"""Seconds to unpack one 4-bit weight."""

_BATCH_S = {"cuda": (0.01, 0.04), "cpu": (0.03, 0.15)}
"""Seconds that the trainer takes for a batch by itself: collating, metrics, the optimiser's many small tensors."""

_AS_FAST, _TRAINER_S = (0.9, 1.5), (0.005, 0.05)
"""Where a batch was tried: times what the fastest and the slowest one took; and the trainer's own seconds for a batch."""

_BYTES_A_S = {"cuda": (2e12, 4e11), "cpu": (1e10, 2e9)}
"""Speed of what is not a matrix product, and waits for memory."""

_LOGIT_BYTES = {"cuda": 8, "cpu": 120}
"""Read and written for one logit: in one kernel on a GPU, in some thirty operations in fp32 elsewhere."""


Trial = Callable[[int, float], tuple[float, float] | None]
"""Sequence length and FLOP of one batch, to its seconds as tried, at best and at worst; None where it was not tried."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of a training. Measurements, checkpoints and samples on the way come on top of the seconds."""

    rows: int
    """That are trained on, in one epoch."""
    rows_a_step: int
    """Batch, times accumulation, times devices."""
    epochs: float
    steps: int
    tokens: int
    """Through the model in all, padding included."""
    flops: float
    seconds: tuple[float, float] | None
    """At best and at worst; None where the device was not measured."""
    trainings: int = 1
    """So many, each of another seed (adapter.average): the seconds are those of all, the rest is of one."""
    tried: bool = False
    """Whether a batch was tried out (train/plan/timing.py), or the seconds are arithmetic alone."""

    def repeated(self, trainings: int) -> "Schedule":
        """The same, so many times."""
        seconds = self.seconds and (self.seconds[0] * trainings, self.seconds[1] * trainings)
        return replace(self, trainings=trainings, seconds=seconds)


def make_schedule(
    sizes: Sizes, load: Load, lengths: Lengths, device: Device, fields: Mapping[str, Any], trial: Trial | None = None
) -> Schedule:
    """Steps as transformers' Trainer counts them: the batches of an epoch, then their groups, both rounded up."""
    rows = _rows(lengths, load, fields)
    batches = ceil(rows / (load.batch * load.world)) if rows else 0
    an_epoch = ceil(batches / load.accumulation)
    epochs = float(fields.get("num_train_epochs", 3.0))
    asked = int(fields.get("max_steps", -1) or -1)
    steps = asked if asked > 0 else ceil(epochs * an_epoch)
    epochs = steps / an_epoch if asked > 0 and an_epoch else epochs
    wide = float(load.length if fields.get("packing") else lengths.padded or load.length)
    sequences = rows * epochs * (load.sequences // load.batch)
    flops = _a_token(sizes, load, wide) * sequences * wide + _once(sizes, load, rows, wide)
    batch_s = trial(ceil(wide), flops / (steps * load.accumulation * load.world)) if trial and steps else None
    return Schedule(
        rows=rows,
        rows_a_step=load.batch * load.accumulation * load.world,
        epochs=epochs,
        steps=steps,
        tokens=round(sequences * wide),
        flops=flops,
        seconds=_as_tried(sizes, load, batch_s, steps)
        if batch_s is not None
        else (_seconds(sizes, load, device, flops, steps, sequences * wide) if device.flops else None),
        tried=batch_s is not None,
    )


def _rows(lengths: Lengths, load: Load, fields: Mapping[str, Any]) -> int:
    if not fields.get("packing") or not lengths.looked_at:
        return lengths.kept
    # Packed rows are full but for a few tokens each.
    tokens = (lengths.tokens - lengths.cut.lost) * lengths.rows / lengths.looked_at
    return max(1, ceil(tokens / load.length)) if load.length else 0


def passes(load: Load) -> float:
    """Forward passes that one step's arithmetic comes to: one forward; one backward for the inputs' gradients and one for the
    weights' (Kaplan et al. 2020, section 2.1), the latter next to nothing with an adapter; one more forward that checkpointing
    repeats; the reference's; and KTO's of mismatched answers, through both models."""
    trained = 3.0 if load.mode == "full" else 2.0
    reference = load.reference in ("adapter_off", "copy")
    others = float(reference) + ((1.0 + reference) if load.method == "kto" else 0.0)
    return trained + float(load.checkpointing) + others


def _as_ours(sizes: Sizes, load: Load) -> float:
    """Passes through the trained model that cost as much as all passes do: a reference of another size takes another time."""
    reference = 0.0 if load.other is None or load.reference != "copy" else load.other.active / sizes.active - 1.0
    return passes(load) + reference * (2.0 if load.method == "kto" else 1.0)


def _a_token(sizes: Sizes, load: Load, length: float) -> float:
    """2 for each weight that a token meets; attention 4 x length x width of the heads a layer, masked or not."""
    s = sizes.shape
    forward = 2.0 * sizes.active + 4.0 * s.layers * s.query * length
    own = 6.0 * sizes.adapter if load.mode != "full" else 0.0
    return forward * _as_ours(sizes, load) + own


def _once(sizes: Sizes, load: Load, rows: int, length: float) -> float:
    if load.reference != "precomputed":
        return 0.0
    return 2.0 * sizes.active * rows * (load.sequences // load.batch) * length


def _as_tried(sizes: Sizes, load: Load, batch_s: tuple[float, float], steps: int) -> tuple[float, float]:
    """From the seconds of one batch at best and at worst."""
    batches = steps * load.accumulation
    found = []
    for n in (0, 1):
        unpacked = passes(load) * sizes.quantized * _UNPACKED_S["cpu"][n] if load.mode == "qlora" else 0.0
        found.append(batches * (batch_s[n] * _AS_FAST[n] + unpacked + _TRAINER_S[n]))
    return found[0], found[1]


def _seconds(sizes: Sizes, load: Load, device: Device, flops: float, steps: int, tokens: float) -> tuple[float, float]:
    assert device.flops is not None
    s, batches = sizes.shape, steps * load.accumulation
    scored = 0 if sizes.reward else s.vocabulary * _LOGIT_BYTES[device.kind]
    moved = tokens * passes(load) * (s.layers * (20 * s.hidden + 10 * s.intermediate) * load.compute + scored / 2)
    found = []
    for n in (0, 1):
        unpacked = batches * passes(load) * sizes.quantized * _UNPACKED_S[device.kind][n] if load.mode == "qlora" else 0.0
        calls = batches * (_BATCH_S[device.kind][n] + passes(load) * s.layers * _CALLS[load.mode] * _CALL_S[device.kind][n])
        shared = flops / (device.flops * _REACHED[n]) + moved / _BYTES_A_S[device.kind][n]
        found.append(shared / load.world + calls + unpacked)
    return found[0], found[1]
