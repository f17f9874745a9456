"""Which tasks are worth a person: a share drawn by chance, then what the judge is least sure of; at most so many a day.

The random sample estimates the judge on everything it judged, so it must not know what the judge thinks: in each category
it is the first units in an order drawn from their ids. It grows along that order from push to push. A unit on its way that
was asked before, because it was doubtful, joins the sample without being asked again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor

from pipeline.annotate.blind import draw_of, is_drawn, shown_order
from pipeline.annotate.candidates import ORDER, Asked, Unit, shards_of, units_in
from pipeline.annotate.forms import form_name
from pipeline.annotate.ledger import Sent, Why, task_id

Category = str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen."""

    before: list[Sent]
    """The ledger's rows, those with a new probability that belong to the random sample now."""
    new: list[Sent]
    """The tasks that are to be sent."""
    left: int
    """Units that were never chosen."""


class _Lowest:
    """The units with the lowest keys, of all that are shown to it; holds twice as many at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: list[tuple[tuple[float, ...], Unit]] = []

    def add(self, key: tuple[float, ...], unit: Unit) -> None:
        self._held.append((key, unit))
        if len(self._held) > 2 * self._most + 16:
            self._held = self._lowest()

    def units(self) -> list[Unit]:
        return [unit for _, unit in self._lowest()]

    def _lowest(self) -> list[tuple[tuple[float, ...], Unit]]:
        return sorted(self._held, key=lambda held: held[0])[: self._most]


def choose(asked: Asked, ledger: Sequence[Sent], day: str) -> Choice:
    """Choose what to send on a day (a UTC date). Memory follows a shard and the number of tasks, not the number of units."""
    ours = [row for row in ledger if row.kind == asked.settings.task and not row.round]
    seen = {_unit(row) for row in ours}
    room = max(0, asked.settings.per_day - sum(row.day == day for row in ledger))
    sampled = [row for row in ours if row.probability is not None]
    found = _scan(asked, seen, room, len(sampled) + room)
    number = min(room, found.unseen)
    drawn = _draw(found, sampled, _quota(asked, ours, number, day))
    fresh = [unit for unit in drawn if unit.id not in seen]
    ids = {unit.id for unit in drawn}
    doubtful = [unit for unit in found.doubtful.units() if unit.id not in ids][: number - len(fresh)]
    new = [_row(asked, unit, "random", day) for unit in fresh] + [_row(asked, unit, unit.why, day) for unit in doubtful]
    new.sort(key=lambda row: draw_of(asked.recipe.seed, "place", row.id))  # nobody can tell from its place why a task is there
    sizes = Counter(row.category for row in sampled) + Counter(unit.category for unit in drawn)
    shares = {category: min(1.0, size / found.count[category]) for category, size in sizes.items() if found.count[category]}
    sample = {_unit(row) for row in sampled} | ids
    kept = {row.id for row in ours}
    before = [_sampled(row, shares) if row.id in kept and _unit(row) in sample else row for row in ledger]
    return Choice(before, [_sampled(row, shares) if _unit(row) in sample else row for row in new], found.unseen - len(new))


def _sampled(row: Sent, shares: Mapping[Category, float]) -> Sent:
    """A row of the random sample with the chance that its category now gives each unit."""
    return replace(row, why="random", probability=shares.get(row.category, row.probability))


@dataclass(slots=True)
class _Found:
    """What one pass over the shards brings."""

    count: Counter[Category]
    """Units by category."""
    unseen: int
    lots: dict[Category, _Lowest]
    """By category: the first units in the order of chance."""
    doubtful: _Lowest
    """The most doubtful units that were never chosen."""


def _scan(asked: Asked, seen: set[str], room: int, most: int) -> _Found:
    found = _Found(Counter(), 0, {}, _Lowest(room))
    for shard in shards_of(asked):
        for unit in units_in(asked, shard):
            lot = draw_of(asked.recipe.seed, "sample", unit.id)
            found.count[unit.category] += 1
            found.lots.setdefault(unit.category, _Lowest(most)).add((lot,), unit)
            if unit.id not in seen:
                found.unseen += 1
                found.doubtful.add((ORDER.index(unit.why), unit.doubt, draw_of(asked.recipe.seed, "doubt", unit.id)), unit)
    return found


def _quota(asked: Asked, ours: Sequence[Sent], number: int, day: str) -> int:
    """How many of the next `number` tasks are to be drawn by chance, so that the share is right over the day."""
    if not asked.recipe.judge:
        return 0  # there is no judge to estimate, and the order is by chance anyway
    today = [row for row in ours if row.day == day]
    wanted = floor(asked.settings.random_share * (len(today) + number) + 0.5)
    return min(number, max(0, wanted - sum(row.probability is not None for row in today)))


def _draw(found: _Found, sampled: Sequence[Sent], quota: int) -> list[Unit]:
    """The next units of the random sample."""
    have = Counter(row.category for row in sampled)
    goal = proportional(found.count, min(len(sampled) + quota, found.count.total()))
    known = {_unit(row) for row in sampled}
    drawn: list[Unit] = []
    for category in sorted(goal, key=lambda c: (have[c] - goal[c], c or "")):  # the one that lacks most comes first
        lacking = min(goal[category] - have[category], quota - len(drawn))
        if lacking > 0:
            first = found.lots[category].units()[: goal[category]]
            drawn += [unit for unit in first if unit.id not in known][:lacking]
    return drawn


def proportional(counts: Mapping[Category, int], total: int) -> dict[Category, int]:
    """`total` divided in proportion to the counts, by largest remainders; no share is larger than its count."""
    everything = sum(counts.values())
    exact = {c: n * total / everything for c, n in counts.items()} if everything else {}
    shares = {c: floor(x) for c, x in exact.items()}
    by_remainder = sorted(exact, key=lambda c: (shares[c] - exact[c], c or ""))
    for category in by_remainder[: total - sum(shares.values())]:
        shares[category] += 1
    return shares


def _row(asked: Asked, unit: Unit, why: Why, day: str) -> Sent:
    kind, seed = asked.settings.task, asked.recipe.seed
    id_ = task_id(kind, 0, unit.prompt_id, unit.answers)
    offered = asked.settings.suggestions and unit.judged is not None
    control = offered and is_drawn(seed, "control", id_, asked.settings.control_share)
    return Sent(
        id=id_,
        kind=kind,
        dataset=form_name(asked.recipe.name, kind, 0, len(unit.answers)),
        round=0,
        prompt_id=unit.prompt_id,
        comparison_id=unit.comparison_id,
        answers=shown_order(seed, id_, unit.answers),
        why=why,
        category=unit.category,
        suggested=offered and not control,
        control=control,
        day=day,
    )


def _unit(row: Sent) -> str:
    return row.comparison_id or row.prompt_id
