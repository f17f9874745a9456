"""Whether a training fits its device, the largest batch that does, and, where it does not, the nearest settings that would."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from train.plan.device import Device
from train.plan.memory import Load, estimate
from train.plan.sizes import Sizes

_SHARE = 0.97
"""Of what is free: the rest is for whatever else begins to use the device meanwhile."""

_CPU_PARAMETERS = 4e9
"""More than so many cannot be trained on a CPU in any useful time: a step of an 8B model takes minutes to hours."""

_MOST = 1024


@dataclass(frozen=True, slots=True)
class Offer:
    """Settings that would fit."""

    changes: dict[str, object]
    """As `--set` takes them."""
    needed: float
    """GiB."""

    def __str__(self) -> str:
        return (
            f"{', '.join(f'{k}: {str(v).lower() if isinstance(v, bool) else v}' for k, v in self.changes.items())} needs {self.needed:.1f}"
        )


@dataclass(frozen=True, slots=True)
class Fit:
    """What fits the device at hand."""

    fits: bool
    room: float
    """GiB that a training may take."""
    largest_batch: int
    """Rows at once that fit with all else as it is; 0 where none does."""
    offers: tuple[Offer, ...] = ()
    """Where it does not fit: settings that would, the smallest change first."""


def judge_fit(sizes: Sizes, load: Load, device: Device) -> Fit:
    """Hold what a training needs against what the device has free."""
    room = device.free * _SHARE
    largest = largest_batch(sizes, load, room)
    if largest >= load.batch:
        return Fit(True, room, largest)
    return Fit(False, room, largest, tuple(_offers(sizes, load, room)))


def largest_batch(sizes: Sizes, load: Load, room: float) -> int:
    """Rows at once that fit; 0 where not even one does. Needs grow with the batch, so halving finds it."""
    low, high = 0, _MOST
    while low < high:
        middle = (low + high + 1) // 2
        if estimate(sizes, replace(load, batch=middle)).needed <= room:
            low = middle
        else:
            high = middle - 1
    return low


def _offers(sizes: Sizes, load: Load, room: float, most: int = 3) -> Iterator[Offer]:
    """Each change alone, then the cheaper mode with each; with every one the largest batch up to the one that was asked for."""
    given = 0
    for changes, other in _changes(load):
        smaller: dict[str, object] = {}
        if largest_batch(sizes, other, room) < load.batch:
            # Steps that are added up keep their gradients meanwhile.
            batch = min(load.batch, largest_batch(sizes, replace(other, accumulation=max(2, load.accumulation)), room))
            # KTO estimates its KL term within a batch.
            if batch < (2 if load.method == "kto" else 1):
                continue
            added_up = max(1, round(load.accumulation * load.batch / batch))
            other = replace(other, batch=batch, accumulation=added_up)
            smaller = {"trainer.per_device_train_batch_size": batch, "trainer.gradient_accumulation_steps": added_up}
        yield Offer({**changes, **smaller}, estimate(sizes, other).needed)
        given += 1
        if given == most:
            return


def _changes(load: Load) -> Iterator[tuple[dict[str, object], Load]]:
    yield {}, load
    single: list[tuple[dict[str, object], Load]] = []
    if not load.checkpointing:
        single.append(({"trainer.gradient_checkpointing": True}, replace(load, checkpointing=True)))
    if load.reference == "copy" and load.other is None:
        single.append(({"reference": "precomputed"}, replace(load, reference="precomputed")))
    if load.mode == "full" and "8bit" not in load.optimizer:
        single.append(({"trainer.optim": "paged_adamw_8bit"}, replace(load, optimizer="paged_adamw_8bit")))
    if load.length > 512:
        half = load.length // 2
        single.append(({"trainer.max_length": half}, replace(load, length=half, scored=load.scored and min(load.scored, 2 * half))))
    yield from single
    for mode in ("lora", "qlora"):
        if (load.mode, mode) in (("full", "lora"), ("full", "qlora"), ("lora", "qlora")):
            other = _in_mode(load, mode)
            yield {"mode": mode}, other
            for changes, _ in single:
                if "trainer.gradient_checkpointing" in changes:
                    yield {"mode": mode, **changes}, replace(other, checkpointing=True)


def _in_mode(load: Load, mode: str) -> Load:
    """The same training with an adapter, whose reference needs no second model, and whose base is bf16 where the device is."""
    reference = "adapter_off" if load.reference == "copy" and load.other is None else load.reference
    return replace(load, mode=mode, reference=reference, width=2 if load.autocast else load.width)


def hopeless(sizes: Sizes, device: Device) -> str | None:
    """A sentence where the device would need years, however much memory it has."""
    if device.kind == "cpu" and sizes.active > _CPU_PARAMETERS:
        return (
            f"there is no GPU here, and a model of {sizes.parameters / 1e9:.1f}B parameters cannot be trained on a CPU in any useful time; "
            "run this on a machine with a GPU, or take a model below 4B"
        )
    return None
