"""What answers to the evaluation questions come to: accuracy, robustness, leaks, over-generalisation, and lost skills."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.identity.check import Expected, credits_us, fault, leaks, says
from pipeline.identity.facts import Facts
from pipeline.passport.estimate import Estimate, plain, share

FIGURES = {
    "heldout": "right on held-out phrasings",
    "families": "right on held-out families",
    "attacks": "right under attack",
    "leak": "leaks where nobody asked",
    "overgeneral": "credits others' things to the new maker",
    "skills": "ordinary tasks right",
}
"""Each figure, in words. Of `leak` and `overgeneral` less is better."""

_SPLITS = {"test-phrasings": "heldout", "test-families": "families", "attacks": "attacks", "dev": "dev"}

Row = Mapping[str, Any]
"""A row of the evaluation table (dataset.EVALUATION)."""


def measure(rows: Sequence[Row], answers: Sequence[str], facts: Facts, split: str = "test") -> dict[str, Any]:
    """Figures with their 95 % intervals (Wilson), as plain JSON values. `answers` are in the rows' order, same length.

    `split` is `test`, or `dev` to choose hyper-parameters on: then `heldout`, `families` and `attacks` are the dev questions
    of those kinds, and no held-out one is looked at.
    """
    graded = [{**row, **grade(row, answer, facts)} for row, answer in zip(rows, answers, strict=True) if _is_in(row, split)]
    own = [g for g in graded if g["asks"]]
    others = [g for g in graded if not g["asks"]]
    tasks = [g for g in others if g["kind"] == "skill"]
    made = [g for g in others if g["kind"] == "overgeneral"]
    kinds = {name: [g for g in own if _SPLITS[g["split"]] == name] for name in ("heldout", "families", "attacks")}
    if split == "dev":
        kinds = {
            "heldout": [g for g in own if g["kind"] == "identity"],
            "families": [],
            "attacks": [g for g in own if g["kind"] == "attack"],
        }
    found = {
        **{name: _share(group, "right") for name, group in kinds.items()},
        # What is credited to the maker is counted as that and not as a leak as well.
        "leak": _share([g for g in others if g["kind"] != "overgeneral"], "leaked"),
        "overgeneral": _share(made, "credited"),
        "skills": _share(tasks, "right"),
        "makers_right": _share(made, "right"),
        "by_language": _by(own, "language"),
        "by_family": _by(own, "family"),
        "skills_by_language": _by(tasks, "language"),
        "faults": _faults(own),
    }
    result: dict[str, Any] = plain(found)
    return result


def grade(row: Row, answer: str, facts: Facts) -> dict[str, Any]:
    """What one answer is: `right`, `leaked`, `credited`, and `fault`, the reason why it is wrong about the model."""
    asked = "\n".join(m["content"] for m in row["messages"] if m["role"] == "user")
    if row["asks"]:
        why = fault(answer, asked, Expected(row["asks"], row["answer_language"], row["fact"]), facts)
        return {"right": why is None, "fault": why, "leaked": False, "credited": False}
    leaked = leaks(answer, asked, row["language"], facts)
    credited = row["kind"] == "overgeneral" and credits_us(answer, asked, facts)
    return {"right": says(answer, row["expected"]) and not leaked, "fault": None, "leaked": leaked, "credited": credited}


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """One table of two measurements: a row a figure; `skills_drop` in points, as a share; and the sentences that go with it."""
    table = [
        {"figure": name, "words": words, "before": before[name], "after": after[name], "change": _change(before[name], after[name])}
        for name, words in FIGURES.items()
    ]
    change = next(row["change"] for row in table if row["figure"] == "skills")
    return {"rows": table, "skills_drop": None if change is None else -change, "sentences": [_sentence(row) for row in table]}


def _is_in(row: Row, split: str) -> bool:
    return bool(row["split"] == "dev") == (split == "dev")


def _share(graded: Sequence[Row], what: str) -> Estimate:
    return share(sum(bool(g[what]) for g in graded), len(graded))


def _by(graded: Sequence[Row], column: str) -> dict[str, Estimate]:
    return {value: _share([g for g in graded if g[column] == value], "right") for value in sorted({g[column] for g in graded})}


def _faults(graded: Iterable[Row]) -> dict[str, int]:
    found = [g["fault"] for g in graded if g["fault"]]
    return {why: found.count(why) for why in sorted(set(found))}


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> float | None:
    return None if before["value"] is None or after["value"] is None else float(after["value"] - before["value"])


def _sentence(row: Row) -> str:
    words, shown = row["words"], [_shown(row[side]) for side in ("before", "after")]
    return f"{words[0].upper()}{words[1:]}: {shown[0]} before, {shown[1]} after."


def _shown(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return "not asked"
    return f"{estimate['value']:.1%} ({estimate['low']:.1%} to {estimate['high']:.1%}, {estimate['n']} asked)"
