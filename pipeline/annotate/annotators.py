"""Annotators: how far each person goes with the others, and what may explain it. Everything is reported, nobody is dropped.

`disagrees_with_everybody`: the upper end of the 95 % interval of Cohen's kappa with what most of the others say is below 0.2, which
is slight agreement at best (Landis and Koch 1977), on at least 10 comparisons that they share.

`faster_than_reading`: a response took less time than its texts take to read at 15 words a second, some 900 a minute, which nobody
reads. Where the backend does not say how long a response took, it is at most the time since the person's response before; the first
one, and those that bear one time (a table that came back whole), tell nothing.

Both bad counts as a tie here: neither answer is better.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pipeline.annotate.derive import Labelled
from pipeline.annotate.ledger import Sent
from pipeline.annotate.responses import moment
from pipeline.annotate.shown import Shown
from pipeline.annotation import Response
from pipeline.judge import Outcome
from pipeline.passport.agreement import agreement, confusion, together
from pipeline.passport.estimate import Estimate, share
from pipeline.passport.labels import cells, label_table, plurality
from pipeline.passport.verdicts import Collector, Row
from pipeline.settings import Anything

SLIGHT = 0.2
FEW = 10
WORDS_A_SECOND = 15.0


@dataclass(frozen=True, slots=True)
class Table:
    """What every person said of every comparison."""

    people: list[str]
    labels_IJ: NDArray[np.int8]

    @staticmethod
    def of(labelled: Iterable[Labelled]) -> "Table | None":
        """None where nobody labelled anything."""
        into = Collector()
        for one in sorted(labelled, key=lambda one: (one.comparison.id, one.annotator)):
            into.add(Row("", one.comparison.id, one.annotator, True, one.verdict().choice))
        if not into.items:
            return None
        v = into.verdicts()
        return Table(v.judges, label_table(v, cells(v)))

    def among_each_other(self, *, seed: int = 0, resamples: int = 1000) -> Anything | None:
        """Krippendorff's alpha and Fleiss' kappa; None with one person."""
        return together(self.labels_IJ, np.random.default_rng(seed), resamples) if len(self.people) > 1 else None

    def with_the_others(self, person: str) -> Anything | None:
        """Agreement of a person with what most of the others say; None where they share nothing."""
        at = self.people.index(person)
        others = np.delete(self.labels_IJ, at, axis=1)
        counts = confusion(plurality(others), self.labels_IJ[:, at]) if others.shape[1] else np.zeros((3, 3))
        return agreement(counts) if counts.sum() else None


def annotators(labelled: Sequence[Labelled], responses: Collection[Response], tasks: Mapping[str, Sent], shown: Shown) -> list[Anything]:
    """The figures of everybody who responded, by name. Shares are Estimates."""
    table = Table.of(labelled)
    by_person: dict[str, list[Response]] = {}
    for response in responses:
        by_person.setdefault(response.annotator, []).append(response)
    return [_figures(person, by_person[person], table, labelled, tasks, shown) for person in sorted(by_person)]


def _figures(
    person: str,
    responses: Sequence[Response],
    table: Table | None,
    labelled: Iterable[Labelled],
    tasks: Mapping[str, Sent],
    shown: Shown,
) -> Anything:
    mine = [one for one in labelled if one.annotator == person]
    with_others = table.with_the_others(person) if table and mine else None
    kappa: Estimate | None = with_others["kappa"] if with_others else None
    sided = [one for one in mine if one.task.kind == "choice" and one.says.label in ("A", "B")]
    first = share(sum(_chose_the_first(one) for one in sided), len(sided))
    seconds = times(responses)
    timed = [(r, seconds[r.task_id]) for r in responses if r.status == "submitted" and r.task_id in seconds and r.task_id in tasks]
    fast = [s * WORDS_A_SECOND < words_of(tasks[r.task_id], shown) for r, s in timed]
    return {
        "name": person,
        **{status: sum(r.status == status for r in responses) for status in ("submitted", "discarded", "draft")},
        "comparisons": len(mine),
        "with_the_others": with_others,
        "disagrees_with_everybody": bool(kappa and kappa.n >= FEW and kappa.high is not None and kappa.high < SLIGHT),
        "first_shown": first,
        "leans_to_a_side": bool(first.low is not None and first.high is not None and not first.low <= 0.5 <= first.high),
        "faster_than_reading": share(sum(fast), len(fast)),
        "median_seconds": median(s for _, s in timed) if timed else None,
    }


def _chose_the_first(one: Labelled) -> bool:
    chosen = one.comparison.a if one.says.label == "A" else one.comparison.b
    return chosen == one.task.answers[0]


def times(responses: Collection[Response]) -> dict[str, float]:
    """Seconds that one person spent on each task, or spent at most; without those of which nothing is known."""
    found = {r.task_id: r.seconds for r in responses if r.seconds is not None}
    in_order = sorted(responses, key=lambda r: moment(r.updated))
    for before, after in pairwise(in_order):
        gap = (moment(after.updated) - moment(before.updated)).total_seconds()
        if gap > 0:
            found.setdefault(after.task_id, gap)
    return found


def words_of(task: Sent, shown: Shown) -> int:
    """Words that a person was shown. A language without spaces has fewer than it seems, which errs in the person's favour."""
    prompt = shown.prompts.get(task.prompt_id)
    texts = [prompt.question, prompt.reference or ""] if prompt else []
    texts += [shown.answers[answer].text for answer in task.answers if answer in shown.answers]
    return sum(len(text.split()) for text in texts)


def anchoring(labelled: Iterable[Labelled], judge: Mapping[str, Outcome]) -> Anything | None:
    """How much more often people go with the judge where its choice stood there as a suggestion than in the control share, with
    Newcombe's interval (1998, method 10). None where no suggestion was shown on a comparison that the judge decides."""
    hits = {True: [0, 0], False: [0, 0]}
    for one in labelled:
        result = judge[one.comparison.id].result if one.comparison.id in judge else None
        if result in ("A", "B", "tie") and (one.task.suggested or one.task.control):
            hits[one.task.suggested][0] += one.says.label == result
            hits[one.task.suggested][1] += 1
    if not hits[True][1]:
        return None
    shown, control = share(*hits[True]), share(*hits[False])
    return {"suggested": shown, "control": control, "difference": difference(shown, control)}


def difference(one: Estimate, other: Estimate) -> Estimate:
    """One share less another, of different rows; `n` is the smaller number of rows."""
    n = min(one.n, other.n)
    if one.value is None or one.low is None or one.high is None or other.value is None or other.low is None or other.high is None:
        return Estimate(None, None, None, n)
    low = ((one.value - one.low) ** 2 + (other.high - other.value) ** 2) ** 0.5
    high = ((one.high - one.value) ** 2 + (other.value - other.low) ** 2) ** 0.5
    value = one.value - other.value
    return Estimate(value, value - low, value + high, n)
