"""Overrule: where people decided a comparison, their outcome stands instead of the judge's."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.annotate.people import PeopleSay, texts_key
from pipeline.judge import Outcome, Result
from pipeline.pair import Judged
from pipeline.records import Comparison
from pipeline.tables import to_table

_RESULTS: Mapping[str, Result] = {"A": "A", "B": "B", "tie": "tie", "both_bad": "both_bad", "unresolved": "people_disagree"}


@dataclass(frozen=True, slots=True)
class _Texts:
    """The answers of a shard, so that what people said of other words is left aside."""

    by_id: Mapping[str, str]

    def stand(self, say: PeopleSay) -> bool:
        a, b = self.by_id.get(say.a), self.by_id.get(say.b)
        return a is not None and b is not None and texts_key(a, b) == say.texts


def overrule(comparisons: pa.Table, outcomes: Mapping[str, Outcome], says: Mapping[str, PeopleSay], answers: pa.Table) -> Judged:
    """The comparisons that a judge or people decided, in the order of the table, people before the judge.

    `outcomes` are the judge's, by comparison. A judge's two scores stay where they go with what people say, and become their mean
    where they go against it: scores that people overruled do not say which answer is better. Where the judge gave none there is none.
    """
    texts = _texts(answers) if says else _Texts({})
    stands = {i: say for i, say in says.items() if texts.stand(say)}
    both = pa.array([*outcomes, *(i for i in stands if i not in outcomes)], pa.string())
    judged = comparisons.filter(pc.is_in(comparisons["id"], value_set=both))
    ids = judged["id"].to_pylist()
    found = [_outcome(stands[i], outcomes.get(i)) if i in stands else outcomes[i] for i in ids]
    return Judged(judged, found, [i in stands for i in ids])


def people_alone(says: Mapping[str, PeopleSay], answers: pa.Table) -> Judged | None:
    """What people say of a shard without a judge; None where they say nothing of these answers."""
    texts = _texts(answers) if says else _Texts({})
    place = {i: n for n, i in enumerate(texts.by_id)}
    stands = sorted((say for say in says.values() if texts.stand(say)), key=lambda s: (place[s.a], place[s.b]))
    if not stands:
        return None
    comparisons = to_table(Comparison, [Comparison(s.comparison_id, s.prompt_id, s.a, s.b) for s in stands])
    outcomes = [Outcome(_RESULTS[s.result], "human", s.score_a, s.score_b) for s in stands]
    return Judged(comparisons, outcomes, [True] * len(stands), alone=True)


def _texts(answers: pa.Table) -> _Texts:
    return _Texts(dict(zip(answers["id"].to_pylist(), answers["text"].to_pylist(), strict=True)))


def _outcome(say: PeopleSay, judge: Outcome | None) -> Outcome:
    a, b = (judge.score_a, judge.score_b) if judge else (None, None)
    if a is not None and b is not None and not _goes_with(say, a, b):
        a = b = (a + b) / 2
    return Outcome(_RESULTS[say.result], "human", a, b, judge.disagreement if judge else None)


def _goes_with(say: PeopleSay, a: float, b: float) -> bool:
    return {"A": a >= b, "B": b >= a, "tie": a == b}.get(say.result, True)
