"""The passport as one object of plain JSON values: every figure with its interval and the rows behind it."""

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pipeline.annotate.people import drawn_by_chance
from pipeline.errors import InputError
from pipeline.passport.agreement import accuracy, agreement, confusion, together
from pipeline.passport.estimate import plain
from pipeline.passport.family import family_figures
from pipeline.passport.inside import shard_verdicts, verdicts_beside_people
from pipeline.passport.labels import MISSING, Cells, cells, label_table, plurality
from pipeline.passport.length import length_figures, none_known
from pipeline.passport.position import Position, positions, positions_of_shards
from pipeline.passport.strengths import Meetings, standings
from pipeline.passport.verdicts import COSTS, Verdicts
from pipeline.runs import Run
from pipeline.settings import Anything

PEOPLE = "people"
"""The name of several people's majority label."""

MOST_PAIRED = 12
"""Judges that are paired with each other: those with the most verdicts."""

MOST_GROUPS = 50

Labels = NDArray[np.int8]


def passport(v: Verdicts, *, by: str | None = None, seed: int = 0, resamples: int = 1000) -> Anything:
    """All figures of some verdicts. The same verdicts and seed give the same object, whatever the order of the rows.

    Raises InputError where the column `by` has too many values to mean a category.
    """
    v = _in_order(v)
    c = cells(v)
    labels_IJ = label_table(v, c)
    people_I = _people(v, labels_IJ)
    rng = np.random.default_rng(seed)
    counted = positions(v, c)
    judges = [_judge(v, c, j, counted[j], labels_IJ, people_I, rng, resamples) for j in range(len(v.judges))]
    figures = {
        "verdicts": len(v.item_V),
        "items": len(v.items),
        "repeated": int(np.maximum(0, c.asked_C3 - 1).sum()),
        "judges": judges,
        "people": _people_figures(v, labels_IJ, people_I, rng, resamples),
        "pairs": [_pair(v, a, b, labels_IJ) for a, b in _paired(v)],
        "together": _together(v, labels_IJ, rng, resamples),
        "by": None if by is None else {"column": by, "groups": list(_groups(v, c, by, labels_IJ, people_I))},
        "seed": seed,
        "resamples": resamples,
    }
    plained: Anything = plain(figures)
    return plained


def run_figures(run: Run, without: Collection[str] = frozenset()) -> Anything:
    """The figures of a run's judges: those that need no people, `without` some comparisons, from its verdict tables shard by shard
    (memory follows the shard); and `against` the people that the run asked. `doubtful`: the comparisons counted here that a judge
    did not decide for a side."""
    doubtful = 0

    def counted() -> Iterator[Verdicts]:
        nonlocal doubtful
        for v in shard_verdicts(run, without):
            c = cells(v)
            doubtful += len(np.unique(c.item_C[(c.label != 0) & (c.label != 1)]))
            yield v

    found, against = positions_of_shards(counted()), against_people(run, drawn_by_chance(run))
    judges = [
        {"name": name, "person": False, "verdicts": p.verdicts, "items": p.items, **p.estimates(), "against": against.get(name)}
        for name, p in sorted(found.items())
    ]
    plained: Anything = plain({"judges": judges, "people": bool(against), "doubtful": doubtful})
    return plained


def against_people(run: Run, only: Collection[str] = frozenset()) -> dict[str, Anything]:
    """Each judge's agreement with the majority of the people that the run asked. Over the comparisons of `only` where people
    labelled such, else over all: those drawn by chance tell more than the doubtful ones, which are harder than the rest."""
    v = (verdicts_beside_people(run, only) if only else None) or verdicts_beside_people(run)
    if v is None:
        return {}
    labels_IJ = label_table(v, cells(v))
    people_I = plurality(labels_IJ[:, v.person_J])
    models = np.flatnonzero(~v.person_J)
    return {v.judges[j]: {"reference": PEOPLE, **agreement(confusion(people_I, labels_IJ[:, j]))} for j in models}


def _in_order(v: Verdicts) -> Verdicts:
    """With items and judges by name, so that chance draws do not depend on the order of rows and files."""
    items, judges = np.argsort(np.array(v.items)), np.argsort(np.array(v.judges))
    item_rank, judge_rank = np.argsort(items), np.argsort(judges)
    return Verdicts(
        items=[v.items[i] for i in items],
        judges=[v.judges[j] for j in judges],
        models=v.models,
        groups=v.groups,
        person_J=v.person_J[judges],
        item_V=item_rank[v.item_V],
        judge_V=judge_rank[v.judge_V],
        choice_V=v.choice_V,
        order_V=v.order_V,
        costs_V3=v.costs_V3,
        model_I2=v.model_I2[items],
        length_I2=v.length_I2[items],
        group_I=v.group_I[items],
    )


def _people(v: Verdicts, labels_IJ: Labels) -> Labels | None:
    """The label of most people; None without people."""
    return plurality(labels_IJ[:, v.person_J]) if v.person_J.any() else None


def _judge(
    v: Verdicts,
    c: Cells,
    j: int,
    counted: Position,
    labels_IJ: Labels,
    people_I: Labels | None,
    rng: np.random.Generator,
    resamples: int,
) -> Anything:
    label_I = labels_IJ[:, j]
    reference, right_I = _reference(v, j, labels_IJ, people_I)
    return {
        "name": v.judges[j],
        "person": bool(v.person_J[j]),
        "verdicts": counted.verdicts,
        "items": counted.items,
        "labelled": int((label_I != MISSING).sum()),
        **counted.estimates(),
        "against": None if right_I is None else {"reference": reference, **accuracy(label_I, right_I, rng, resamples)},
        "length": None if none_known(label_I, v) else length_figures(v, label_I, rng, resamples),
        "family": family_figures(v, j, labels_IJ, people_I),
        "cost": _cost(v, j),
        "standings": _standings(v, label_I, rng, resamples),
    }


def _reference(v: Verdicts, j: int, labels_IJ: Labels, people_I: Labels | None) -> tuple[str, Labels | None]:
    """Whose labels count as right for a judge: people's; for a person the other people's; without people the other judges'."""
    others = v.person_J.copy() if people_I is not None else np.ones(len(v.judges), bool)
    others[j] = False
    if people_I is not None and not v.person_J[j]:
        return PEOPLE, people_I
    if others.sum() < 2:
        return "", None
    return ("the other people" if people_I is not None else "the other judges"), plurality(labels_IJ[:, others])


def _standings(v: Verdicts, label_I: Labels, rng: np.random.Generator, resamples: int) -> Anything | None:
    meetings = Meetings.of(v.model_I2, label_I, len(v.models))
    return standings(meetings, v.models, rng, resamples) if len(meetings.one_P) else None


def _cost(v: Verdicts, j: int) -> Anything | None:
    """Means per 1,000 verdicts, of the rows that say."""
    costs = v.costs_V3[v.judge_V == j]
    known = np.isfinite(costs)
    rows = {name: known[:, n] for n, name in enumerate(COSTS) if known[:, n].any()}
    return (
        {f"{n}_per_1000": 1000 * float(costs[k, COSTS.index(n)].mean()) for n, k in rows.items()} | {"n": int(known.any(axis=1).sum())}
        if rows
        else None
    )


def _people_figures(v: Verdicts, labels_IJ: Labels, people_I: Labels | None, rng: np.random.Generator, resamples: int) -> Anything | None:
    if people_I is None:
        return None
    labelled = (labels_IJ[:, v.person_J] != MISSING).any(axis=1)
    return {
        "people": int(v.person_J.sum()),
        "items": int(labelled.sum()),
        "without_majority": int((labelled & (people_I == MISSING)).sum()),
        "majority": {name: int((people_I == k).sum()) for k, name in enumerate(("A", "B", "tie"))},
        "length": None if none_known(people_I, v) else length_figures(v, people_I, rng, resamples),
        "standings": _standings(v, people_I, rng, resamples),
    }


def _paired(v: Verdicts) -> list[tuple[int, int]]:
    rows = np.bincount(v.judge_V, minlength=len(v.judges))
    most = sorted(np.argsort(-rows, kind="stable")[:MOST_PAIRED].tolist())
    return list(combinations(most, 2))


def _pair(v: Verdicts, a: int, b: int, labels_IJ: Labels) -> Anything:
    return {"judges": [v.judges[a], v.judges[b]], **agreement(confusion(labels_IJ[:, a], labels_IJ[:, b]))}


def _together(v: Verdicts, labels_IJ: Labels, rng: np.random.Generator, resamples: int) -> list[Anything]:
    """Of all judges, and of people and of models alone where there are two or more of each."""
    everybody = np.ones(len(v.judges), bool)
    sets = [("all", everybody), ("people", v.person_J), ("models", ~v.person_J)]
    sets = [(name, kept) for name, kept in sets if kept.sum() >= 2 and (name == "all" or not kept.all())]
    return [{"of": name, **together(labels_IJ[:, kept], rng, resamples)} for name, kept in sets]


def _groups(v: Verdicts, c: Cells, by: str, labels_IJ: Labels, people_I: Labels | None) -> Iterator[Anything]:
    """The agreement of every judge within each value of the column: with people, or of each pair without them."""
    if len(v.groups) > MOST_GROUPS:
        raise InputError(f"--by {by}: found {len(v.groups)} different values, wanted at most {MOST_GROUPS}; give a column of categories")
    for number, name in enumerate(v.groups):
        here = v.group_I == number
        rows: Sequence[Anything]
        if people_I is not None:
            models = np.flatnonzero(~v.person_J)
            rows = [{"judges": [v.judges[j], PEOPLE], **agreement(confusion(people_I[here], labels_IJ[here, j]))} for j in models]
        else:
            rows = [_pair(v, a, b, labels_IJ[here]) for a, b in _paired(v)]
        kept = here[c.item_C]
        within = Cells(c.item_C[kept], c.judge_C[kept], c.counts_C3K[kept], c.asked_C3[kept], c.valid_label_C3[kept])
        judges = [{"name": v.judges[j], **p.estimates()} for j, p in enumerate(positions(v, within)) if p.verdicts]
        yield {"value": name, "items": int(here.sum()), "agreement": rows, "judges": judges}
