"""Compare: who meets whom. Only answers to the same prompt meet, and only answers that differ."""

from collections.abc import Mapping, Sequence
from itertools import combinations, groupby

from pipeline.records import Answer, Comparison, Meeting
from pipeline.tables import Dropped


def compare(answers: Sequence[Answer], meeting: Meeting, roles: Mapping[str, str | None]) -> tuple[list[Comparison], list[Dropped]]:
    """Comparisons in the order of the answers, which come grouped by prompt; two equal texts are dropped, unjudged.

    `roles` maps the recipe's model names to `strong`, `weak` or None. In a strong_weak comparison side a is the strong one.
    """
    comparisons: list[Comparison] = []
    dropped: list[Dropped] = []
    for prompt_id, group in groupby(answers, key=lambda answer: answer.prompt_id):
        for a, b in _meetings(list(group), meeting, roles):
            comparison = Comparison.of(prompt_id, a.id, b.id)
            if a.text == b.text:
                dropped.append(Dropped("compare", "equal_texts", comparison.id, f"{a.model}, {b.model}: {a.text[:80]!r}", prompt_id))
            else:
                comparisons.append(comparison)
    return comparisons, dropped


def _meetings(answers: list[Answer], meeting: Meeting, roles: Mapping[str, str | None]) -> list[tuple[Answer, Answer]]:
    if meeting == "all":
        return list(combinations(answers, 2))
    strong = [a for a in answers if roles.get(a.model) == "strong"]
    weak = [a for a in answers if roles.get(a.model) == "weak"]
    return [(s, w) for s in strong for w in weak]
