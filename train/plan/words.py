"""A plan for people: tables and sentences, and the one sentence with which it refuses."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from train.plan.lengths import Lengths
from train.plan.schedule import Schedule

if TYPE_CHECKING:
    from rich.console import RenderableType

    from train.plan import Plan

_BAR = 30


def refusal(plan: "Plan") -> str | None:
    """Why a training should not begin: the first reason that holds."""
    if (error := next((f for f in plan.template if f.level == "error"), None)) is not None:
        where = f" ({error.rows} of {error.looked_at} rows)" if error.looked_at else ""
        return f"{error.sentence}{where}"
    if not plan.lengths.rows:
        return "the dataset holds no row to train on; build it again, or mend data.path"
    if plan.lengths.kept == 0:
        return _all_gone(plan)
    if plan.hopeless:
        return plan.hopeless
    return None if plan.fit.fits else _no_room(plan)


def _all_gone(plan: "Plan") -> str:
    lengths = plan.lengths
    what = "longer than" if plan.method == "reward" else "with a prompt of at least"
    return (
        f"every row is {what} max_length {lengths.cut.max_length} tokens, so nothing would be left to train on; "
        f"set trainer.max_length: {lengths.suggestion}"
    )


def _no_room(plan: "Plan") -> str:
    shape = f"{plan.mode} with a batch of {plan.load.batch} and sequences of {plan.load.length} tokens"
    found = f"{plan.memory.needed:.1f} GiB needed for {shape}, {plan.fit.room:.1f} free on {plan.device.name}"
    if plan.fit.offers:
        return f"{found}; {'; or '.join(map(str, plan.fit.offers))}"
    least = min(plan.modes.values(), key=lambda m: m.needed).needed
    return f"{found}; no smaller batch, length or mode fits (the least is {least:.1f} GiB): take a smaller model or a larger device"


def print_plan(plan: "Plan") -> None:
    """On stderr, as everything that is for people."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    for part in render(plan):
        console.print(part, soft_wrap=isinstance(part, str), markup=False)


def render(plan: "Plan") -> Iterator["RenderableType"]:
    """Tables and sentences from top to bottom."""
    yield on_model(plan)
    yield _memory_table(plan)
    yield on_device(plan)
    yield from on_lengths(plan.lengths, plan.method)
    yield from (f"{f.level}: {f.sentence} ({f.rows} of {f.looked_at} rows looked at)" for f in plan.template)
    if not plan.template:
        yield "The chat template renders prompts and answers as it should, and every answer ends."
    yield on_schedule(plan.schedule)
    if (why := plan.refuse()) is not None:
        yield f"This training would be refused: {why}."


def on_model(plan: "Plan") -> str:
    """Parameters, and what of them is trained."""
    s, trained = plan.sizes, plan.sizes.trainable(plan.mode)
    whole = s.parameters + (0 if plan.mode == "full" else s.adapter)
    text = f"{plan.name}: {plan.method} in mode {plan.mode} on {s.architecture}, {_count(s.parameters)} parameters"
    text += f", {_count(trained)} trained ({trained / whole:.2%})"
    if plan.mode == "qlora" and s.quantized < 0.5 * s.parameters:
        text += f"; only {s.quantized / s.parameters:.0%} of them are in linear layers, and 4 bits reach no others"
    return f"{text}."


def _memory_table(plan: "Plan") -> "RenderableType":
    from rich.table import Table

    load = plan.load
    each = f", on each of {load.world} devices" if load.world > 1 else ""
    unit, factor, digits = ("GiB", 1.0, 2) if max(m.allocated for m in plan.modes.values()) > 0.5 else ("MiB", 1024.0, 1)
    table = Table(title=f"{unit} at batch {load.batch} and {load.length} tokens{each}", title_justify="left", box=None)
    table.add_column("")
    for mode in plan.modes:
        table.add_column(f"{mode} *" if mode == plan.mode else mode, justify="right")
    for label, part in _PARTS.items():
        table.add_row(label, *(f"{getattr(memory, part) * factor:.{digits}f}" for memory in plan.modes.values()))
    return table


_PARTS = {
    "weights": "weights",
    "reference model": "reference",
    "optimiser states": "optimizer",
    "gradients": "gradients",
    "activations kept": "activations",
    "one layer at work": "working",
    "output layer": "logits",
    "(all logits, if written out)": "logits_whole",
    "at the worst moment": "allocated",
    "needed, with the runtime's own": "needed",
}


def on_device(plan: "Plan") -> str:
    fit, memory = plan.fit, plan.memory
    text = f"{memory.needed:.1f} GiB needed, {fit.room:.1f} free on {plan.device.name}; most in {memory.worst}."
    more = f"Up to {fit.largest_batch} rows at once would fit." if fit.largest_batch else "Not even one row at once fits."
    return f"{text} {more}"


def on_lengths(lengths: Lengths, method: str) -> Iterator["RenderableType"]:
    """How long the rows are, and what would be lost."""
    if not lengths.looked_at:
        return
    from rich.table import Table

    sample = "" if lengths.looked_at == lengths.rows else f", {lengths.looked_at} of them looked at"
    table = Table(title=f"Tokens ({lengths.rows} rows{sample})", title_justify="left", box=None)
    table.add_column("")
    for share in lengths.shares:
        table.add_column({0.0: "least", 0.5: "median", 1.0: "most"}.get(share, f"{share:.0%}"), justify="right")
    for name, values in lengths.quantiles.items():
        table.add_row(name, *map(str, values))
    yield table
    yield "\n".join(bars(lengths))
    yield on_cut(lengths, method)


def bars(lengths: Lengths) -> list[str]:
    """A histogram of the longest sequence of each row."""
    most = max(count for _, count in lengths.histogram)
    lines = []
    for below, count in lengths.histogram:
        limit = lengths.cut.max_length
        mark = "  beyond max_length" if limit is not None and below > limit and count else ""
        lines.append(f"  < {below:>6} {'#' * -(-count * _BAR // most)} {count}{mark}")
    return lines


def on_cut(lengths: Lengths, method: str) -> str:
    """What max_length would cut or drop."""
    cut, n = lengths.cut, lengths.looked_at
    if cut.max_length is None:
        return "No max_length: nothing is cut or dropped."
    if not cut.dropped and not cut.cut:
        return f"max_length {cut.max_length} cuts and drops nothing; the longest sequence has {lengths.quantiles['row'][-1]} tokens."
    estimate = "" if n == lengths.rows else " of those looked at"
    parts = []
    if cut.dropped:
        why = "an answer is too long" if method == "reward" else "the prompt alone fills it"
        parts.append(f"drops {cut.dropped} of {n} rows{estimate} ({cut.dropped / n:.1%}), since {why}")
    if cut.cut:
        parts.append(f"cuts the end of an answer in {cut.cut} rows ({cut.cut / n:.1%}), which then learn no end")
    advice = f"; trainer.max_length: {lengths.suggestion} leaves 99 % whole" if (lengths.suggestion or 0) > cut.max_length else ""
    return f"max_length {cut.max_length} {' and '.join(parts)}: {cut.lost} tokens lost ({cut.lost / lengths.tokens:.1%}){advice}."


def on_schedule(schedule: Schedule) -> str:
    text = f"{schedule.trainings} trainings of " if schedule.trainings > 1 else ""
    text += f"{schedule.steps} steps: {schedule.rows} rows, {schedule.rows_a_step} a step, {schedule.epochs:g} epochs, "
    text += f"{_count(schedule.tokens)} tokens through the model"
    if schedule.seconds is None:
        return f"{text}."
    low, high = schedule.seconds
    how = "a batch that was tried out on this machine" if schedule.tried else "arithmetic and the speed of this device"
    return f"{text}; about {duration(low)} to {duration(high)} by {how}, measurements and samples not counted."


def duration(seconds: float) -> str:
    """In the unit a person would use."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, round(seconds))} s"


def _count(number: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.2f}{unit}"
    return str(round(number))
