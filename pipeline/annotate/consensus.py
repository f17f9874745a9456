"""What several people said of one comparison becomes one decision.

`majority`: a label stands when more than half of the people chose it, whichever of A, B, tie and both_bad it is. So A against B is
unresolved, and so is A against a tie: a tie wins only by majority. What people found `both_bad` never pairs. Discards and drafts are
no labels.

`dawid_skene`: each person has a matrix of how often they say what when the truth is what, estimated together with the truth (Dawid
and Skene 1979, by crowd-kit). A label stands when its probability is at least 0.7: two people of the usual kind who contradict each
other come to about one half, and two of them against one to about 0.8. The matrices are not determined by two people, nor by a few
items, and the method is then sure without reason (two people of three reliable, 30 items: 17 % decided wrongly, by majority 8 %):
with less than MIN_PEOPLE or MIN_ITEMS the majority decides, and the outcome says so.

Either way a decision needs as many people as the recipe asks for. Where they could not agree, what the adjudicator said stands.
"""

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.annotate.labels import Label
from pipeline.annotate.people import Decision
from pipeline.errors import RecipeError

MIN_POSTERIOR = 0.7
MIN_PEOPLE = 3
MIN_ITEMS = 100
"""Comparisons with two labels or more, below which Dawid-Skene is not asked."""

Labels = Mapping[str, Mapping[str, Label]]
"""By comparison, what each person said."""

Method = Literal["majority", "dawid_skene"]


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision, who made it, of how many people, and the share of them that said it."""

    result: Decision
    by: Literal["majority", "dawid_skene", "adjudication"]
    n: int
    agreement: float


def decide(labels: Labels, adjudicated: Labels, *, method: Method = "majority", min_people: int = 1) -> dict[str, Decided]:
    """The decisions on all comparisons with labels of at least `min_people`, or an adjudicator's; sorted by comparison."""
    found = {i: Decided(majority(said), "majority", len(said), _share(said)) for i, said in labels.items() if said}
    if method == "dawid_skene" and _enough(labels):
        found |= {i: Decided(result, "dawid_skene", len(labels[i]), _share(labels[i])) for i, result in dawid_skene(labels).items()}
    found = {i: decided for i, decided in found.items() if decided.n >= min_people}
    for i, said in adjudicated.items():
        if i in found and found[i].result != "unresolved":
            continue  # of a ranking, what people agreed on is shown to the adjudicator too
        result, everybody = majority(said), {**labels.get(i, {}), **said}
        found[i] = Decided(result, "adjudication", len(everybody), _share(everybody, result))
    return dict(sorted(found.items()))


def majority(said: Mapping[str, Label]) -> Decision:
    """The label of more than half of the people."""
    label, most = Counter(said.values()).most_common(1)[0]
    return label if most * 2 > len(said) else "unresolved"


def dawid_skene(labels: Labels) -> dict[str, Decision]:
    """The label with a posterior of at least MIN_POSTERIOR; the same whatever the order of people and comparisons."""
    likeliest = {i: max(p.items(), key=lambda item: item[1]) for i, p in posteriors(labels).items()}
    return {i: label if p >= MIN_POSTERIOR else "unresolved" for i, (label, p) in likeliest.items()}


def posteriors(labels: Labels) -> dict[str, dict[Label, float]]:
    """By comparison, how probable each label is that anybody used. Raises RecipeError where crowd-kit is not installed."""
    import pandas as pd

    try:
        from crowdkit.aggregation import DawidSkene
    except ImportError as error:
        raise RecipeError(
            f"annotate.consensus: dawid_skene needs crowd-kit ({error}); install pairsmith[annotate], or set consensus: majority "
            "(what people said is stored, and decided by the next pull)"
        ) from error

    rows = sorted((i, person, label) for i, said in labels.items() for person, label in said.items())
    table = pd.DataFrame(rows, columns=["task", "worker", "label"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas' notices to crowd-kit
        found = DawidSkene(n_iter=100).fit(table).probas_
    return {str(i): {label: float(p) for label, p in row.items()} for i, row in found.sort_index(axis=1).iterrows()}


def _enough(labels: Labels) -> bool:
    people = {person for said in labels.values() for person in said}
    return len(people) >= MIN_PEOPLE and sum(len(said) >= 2 for said in labels.values()) >= MIN_ITEMS


def _share(said: Mapping[str, Label], result: Decision | None = None) -> float:
    counts: Counter[str] = Counter(said.values())
    hits = counts[result] if result and result in counts else max(counts.values())
    return hits / len(said)
