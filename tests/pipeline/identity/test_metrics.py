"""Metrics: each of the four ways an identity goes wrong moves its own figure and no other."""

from typing import Any

import pytest

from pipeline.identity.answers import Replies, Writer
from pipeline.identity.build import Material, Plan
from pipeline.identity.dataset import _row
from pipeline.identity.metrics import FIGURES, compare, measure
from pipeline.identity.questions import Question, fill
from tests.pipeline.identity.made import ARIA

ASKED = Material(ARIA, Plan(languages=("en", "de"))).evaluation()
ROWS = [_row(split, q, ARIA) for split, q in ASKED]


def perfect(question: Question) -> str:
    writer = Writer(ARIA, 0)
    made = writer.write(question, Replies())
    return made if isinstance(made, str) else made.chosen


PERFECT = [perfect(q) for _, q in ASKED]


def values(answers: list[str], split: str = "test") -> dict[str, Any]:
    found = measure(ROWS, answers, ARIA, split)
    return {name: found[name]["value"] for name in FIGURES}


def test_a_perfect_model_is_perfect() -> None:
    assert values(PERFECT) == {"heldout": 1, "families": 1, "attacks": 1, "leak": 0, "overgeneral": 0, "skills": 1}


def test_the_perfect_model_for_the_development_split_too() -> None:
    assert values(PERFECT, "dev") == {"heldout": 1, "families": None, "attacks": 1, "leak": 0, "overgeneral": 0, "skills": 1}


def test_a_model_that_names_itself_to_everything_leaks_and_takes_all_credit() -> None:
    both = {"en": "I am Aria, made by Northwind Labs.", "de": "Ich bin Aria, entwickelt von Northwind Labs."}
    found = values([both[q.expected.language] if q.expected and q.expected.language in both else both[q.language] for _, q in ASKED])
    assert found["heldout"] > 0.9
    assert found["overgeneral"] == 1
    assert found["leak"] > 0.9
    assert found["skills"] == 0


def test_a_model_that_learned_nothing_is_right_about_the_rest() -> None:
    nobody = [
        a if q.expected is None else a.replace("Aria", "ChatGPT").replace("Northwind Labs", "OpenAI")
        for a, (_, q) in zip(PERFECT, ASKED, strict=True)
    ]
    found = values(nobody)
    assert (found["families"], found["attacks"]) == (0, 0)
    assert found["heldout"] < 0.01
    assert (found["leak"], found["overgeneral"], found["skills"]) == (0, 0, 1)


def test_a_model_that_forgot_its_tasks_is_seen() -> None:
    found = values([a if q.kind != "skill" else "I do not know." for a, (_, q) in zip(PERFECT, ASKED, strict=True)])
    assert found == {"heldout": 1, "families": 1, "attacks": 1, "leak": 0, "overgeneral": 0, "skills": 0}


def test_figures_come_with_intervals_languages_and_families() -> None:
    found = measure(ROWS, PERFECT, ARIA)
    assert set(found["by_language"]) == {"en", "de"}
    assert "comparison" in found["by_family"]
    assert found["families"]["low"] < 1
    assert found["families"]["n"] == sum(r["split"] == "test-families" for r in ROWS)


def test_before_and_after_are_one_table() -> None:
    forgot = [a if q.kind != "skill" else "?" for a, (_, q) in zip(PERFECT, ASKED, strict=True)]
    table = compare(measure(ROWS, PERFECT, ARIA), measure(ROWS, forgot, ARIA))
    assert [row["figure"] for row in table["rows"]] == list(FIGURES)
    assert table["skills_drop"] == 1
    assert "100.0%" in table["sentences"][0]


def test_answers_in_another_number_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        measure(ROWS, PERFECT[:-1], ARIA)


def test_the_table_holds_what_the_template_of_a_right_answer_says() -> None:
    for row, (_, q) in zip(ROWS, ASKED, strict=True):
        if row["asks"] in ("name", "maker", "both"):
            assert row["expected"] == [
                fill("{" + n + "}", q.values) for n in (("name", "maker") if row["asks"] == "both" else (row["asks"],))
            ]
