"""How long the rows are in tokens, and what `max_length` would cut or drop: by TRL's own rules, counted before it does so in silence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from train.lengths import Length, lengths_of
from train.rows import Row

LOOK_AT = 5000
"""Rows that are tokenized; of more, so many drawn by chance, and what is said is then an estimate."""

_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)

_BARS = 12


@dataclass(frozen=True, slots=True)
class Cut:
    """What a `max_length` does to the rows that were looked at."""

    max_length: int | None
    dropped: int
    """Rows that would leave: by their prompt, or in a reward model by either answer."""
    cut: int
    """Rows that would lose the end of an answer, and with it the sign that ends it."""
    lost: int
    """Tokens that would be gone with either."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """The lengths of a dataset. `rows` is all of it; the counts are of `looked_at`."""

    rows: int
    looked_at: int
    quantiles: dict[str, list[int]]
    """Tokens of `row` (the longest sequence), `prompt` and `answer`, at the shares of `shares`."""
    shares: tuple[float, ...]
    histogram: list[tuple[int, int]]
    """Rows with at most so many tokens, and more than the entry before."""
    tokens: int
    cut: Cut
    suggestion: int | None
    """A max_length that leaves 99 % of the rows whole, a multiple of 64, within the model's context."""
    longest: int
    """Of the longest sequence after truncation: what memory must be there for."""
    scored: int
    """Answer tokens of the row with the most of them, after truncation."""
    padded: float
    """Tokens a sequence takes on average in a batch, padding included, after truncation."""

    @property
    def kept(self) -> int:
        """Rows that would be trained on; an estimate where not all were looked at."""
        return round(self.rows * (1 - self.cut.dropped / self.looked_at)) if self.looked_at else 0


def look_at(rows: Sequence[Row], tokenizer: Any, *, seed: int = 0, most: int = LOOK_AT) -> list[Length]:
    """The lengths of the rows, or of so many of them drawn by chance."""
    chosen = range(len(rows)) if len(rows) <= most else sorted(Random(seed).sample(range(len(rows)), most))  # noqa: S311 - no secret
    return lengths_of([rows[n] for n in chosen], tokenizer)


def summarize(
    found: Sequence[Length], rows: int, method: str, max_length: int | None, *, batch: int = 1, context: int | None = None
) -> Lengths:
    """The distribution, and what `max_length` does to it. `rows`: of the whole dataset, where `found` is a sample."""
    longest = sorted(row.longest for row in found)
    trained = [row for row in found if not _is_dropped(row, method, max_length)]
    limit = max_length or (longest[-1] if longest else 0)
    return Lengths(
        rows=rows,
        looked_at=len(found),
        quantiles={
            "row": _quantiles(longest),
            "prompt": _quantiles(sorted(row.prompt for row in found)),
            "answer": _quantiles(sorted(answer for row in found for answer in row.answers)),
        },
        shares=_SHARES,
        histogram=_histogram(longest),
        tokens=sum(_tokens(row) for row in found),
        cut=cut_by(found, method, max_length),
        suggestion=_suggest(longest, context),
        # What was not looked at may be longer than what was.
        longest=limit if len(found) < rows else max((min(row.longest, limit) for row in trained), default=0),
        scored=max((sum(min(a, max(0, limit - row.prompt)) for a in row.answers) for row in trained), default=0),
        padded=_padded(trained, limit, batch),
    )


def cut_by(found: Sequence[Length], method: str, max_length: int | None) -> Cut:
    """What TRL 1.16 does: DPO and KTO drop a row whose prompt fills max_length and cut the end of longer ones; SFT too, but a row
    without a prompt is only cut; ORPO cuts, and keeps rows whose answer is gone altogether; a reward model drops every row of
    which one side is longer."""
    dropped = cut = lost = 0
    for row in found:
        if _is_dropped(row, method, max_length):
            dropped, lost = dropped + 1, lost + _tokens(row)
        elif max_length is not None and row.longest > max_length:
            cut, lost = cut + 1, lost + sum(max(0, row.prompt + answer - max_length) for answer in row.answers)
    return Cut(max_length, dropped, cut, lost)


def _is_dropped(row: Length, method: str, max_length: int | None) -> bool:
    if max_length is None or method == "orpo":
        return False
    return row.longest > max_length if method == "reward" else row.prompt >= max_length


def _tokens(row: Length) -> int:
    return sum(row.prompt + answer for answer in row.answers)


def _quantiles(values: Sequence[int]) -> list[int]:
    return [values[min(len(values) - 1, round(share * (len(values) - 1)))] for share in _SHARES] if values else []


def _suggest(longest: Sequence[int], context: int | None) -> int | None:
    if not longest:
        return None
    whole = longest[min(len(longest) - 1, int(0.99 * len(longest)))]
    return min(-(-(whole + 1) // 64) * 64, context or 2**31)


def _histogram(longest: Sequence[int]) -> list[tuple[int, int]]:
    """Bars of a round width: 1, 2 or 5 times a power of ten."""
    if not longest:
        return []
    width = next(w for w in _round_widths() if longest[-1] // w < _BARS)
    counts = [0] * (longest[-1] // width + 1)
    for value in longest:
        counts[value // width] += 1
    first = longest[0] // width
    return [((n + 1) * width, count) for n, count in enumerate(counts)][first:]


def _round_widths() -> Iterator[int]:
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10


def _padded(rows: Sequence[Length], limit: int, batch: int) -> float:
    """A batch is as long as its longest sequence: the average over an epoch in an order drawn by chance."""
    widths = [min(row.longest, limit) for row in rows]
    Random(0).shuffle(widths)  # noqa: S311 - an order, no secret
    batches = [widths[n : n + batch] for n in range(0, len(widths), batch)]
    return sum(max(b) * len(b) for b in batches) / len(widths) if widths else 0.0
