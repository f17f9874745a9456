"""Forms, tasks and responses in Argilla's words and back."""

import pytest

from pipeline.annotation import Question, Task
from pipeline.backends._argilla_form import differences, field_bodies, question_bodies, record_body, response_of
from tests.pipeline.backends.forms import RANKING, RATING, choice_form, choice_task

FORM = choice_form()
RAW = {"status": "submitted", "updated_at": "2026-01-02T03:04:05.600000", "values": {}}


def test_a_record_shows_the_fields_and_the_category_and_nothing_else() -> None:
    body = record_body(FORM, choice_task(1), {})
    assert body == {"external_id": "0001e45", "fields": dict(choice_task(1).fields), "metadata": {"category": "code"}, "suggestions": []}


@pytest.mark.parametrize("value", [("2", "1", "3"), ("1=3", "2"), ("1=2=3",)])
def test_a_ranking_goes_out_and_comes_back_with_its_ties(value: tuple[str, ...]) -> None:
    body = record_body(RANKING, Task("t", {"prompt": "p"}, suggestions={"ranking": value}), {"ranking": "q1"})
    raw = {**RAW, "values": {"ranking": {"value": body["suggestions"][0]["value"]}}}
    assert response_of(RANKING, "t", "ann", raw).values == {"ranking": value}


def test_a_ranking_that_was_only_begun_says_nothing() -> None:
    begun = [{"value": "1", "rank": 1}, {"value": "2", "rank": None}, {"value": "3"}]
    raw = {**RAW, "status": "draft", "values": {"ranking": {"value": begun}}}
    assert response_of(RANKING, "t", "ann", raw).values == {}


def test_a_rating_has_whole_numbers() -> None:
    assert question_bodies(RATING)[0]["settings"] == {"type": "rating", "options": [{"value": n} for n in range(1, 6)]}


def test_a_discard_may_have_no_values_and_a_time_is_in_utc() -> None:
    response = response_of(FORM, "t", "ann", {**RAW, "status": "discarded", "values": None})
    assert (response.values, response.updated) == ({}, "2026-01-02T03:04:05.600000+00:00")


def test_answers_are_shown_as_they_are_unless_markdown_is_asked_for() -> None:
    assert {body["settings"]["use_markdown"] for body in field_bodies(FORM, markdown=False)} == {False}
    assert {body["settings"]["use_markdown"] for body in field_bodies(FORM, markdown=True)} == {True}


def test_the_questions_that_differ_are_named() -> None:
    ours = question_bodies(FORM)
    assert differences(ours, [{**body, "id": "x", "inserted_at": "now"} for body in ours]) == []
    other = choice_form(questions=(*FORM.questions[:1], Question("strength", "rating", "By how much?", labels={"1": "1", "2": "2"})))
    assert differences(ours, question_bodies(other)) == ["strength", "comment"]
