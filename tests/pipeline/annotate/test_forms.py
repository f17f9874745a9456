"""What people are asked: the same questions in every language, in words from files, about texts that stay texts."""

import re
from dataclasses import astuple
from pathlib import Path
from string import Formatter

import pytest

from pipeline import prompts
from pipeline.annotate.forms import fields_of, form_of
from pipeline.annotation import AnnotateSettings
from pipeline.errors import RecipeError
from pipeline.prompts import FOLDER
from tests.harness.shards import prompt

KINDS = ("choice", "ranking", "rating", "rewrite")
LANGUAGES = sorted(p.name for p in (FOLDER / "annotate").iterdir())


def form(kind="choice", language="en", number=0, answers=2, **more):
    return form_of(AnnotateSettings(backend="csv", task=kind, language=language, **more), "mine", round=number, answers=answers)


def test_there_is_more_than_one_language():
    assert {"en", "de", "es"} <= set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_language_asks_the_same_in_words_of_its_own(kind, language):
    english, theirs = form(kind, answers=3), form(kind, language, answers=3)
    shape = [(q.name, q.kind, list(q.labels), q.required) for q in english.questions]
    assert [(q.name, q.kind, list(q.labels), q.required) for q in theirs.questions] == shape
    assert list(theirs.fields) == list(english.fields)
    assert all(q.title and all(q.labels.values()) for q in theirs.questions)
    assert len(theirs.guidelines) > 300
    if language != "en":
        assert theirs.guidelines != english.guidelines
        assert [q.title for q in theirs.questions if q.title in {e.title for e in english.questions}] == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_is_filled_in_is_left_unfilled(kind, language):
    words = str(astuple(form(kind, language, answers=3, number=1)))
    assert [field for _, field, _, _ in Formatter().parse(re.sub(r"[{}](?=\W)", "", words)) if field] == []
    assert "{" not in "".join([*form(kind, language).fields.values(), *(q.title for q in form(kind, language).questions)])


def test_a_choice_is_of_two_answers_a_tie_or_neither():
    choice, strength, comment = form().questions
    assert list(choice.labels) == ["1", "2", "tie", "both_bad"]
    assert list(strength.labels) == ["slight", "clear", "strong"]
    assert (choice.required, strength.required, comment.required) == (True, False, False)
    assert list(form().fields) == ["prompt", "reference", "answer_1", "answer_2"]


def test_a_ranking_has_a_label_for_each_answer_and_a_dataset_for_each_number_of_them():
    assert list(form("ranking", answers=4).questions[0].labels) == ["1", "2", "3", "4"]
    assert {form("ranking", answers=n).name for n in (2, 3, 4)} == {"mine-ranking-of-2", "mine-ranking-of-3", "mine-ranking-of-4"}


def test_a_rating_asks_for_each_criterion_and_answer_with_its_own_sentence():
    rated = form("rating", criteria={"true": "What it says is so.", "brief": "No longer than needed."})
    asked = {q.name: q.description for q in rated.questions}
    assert list(asked) == ["true.1", "true.2", "brief.1", "brief.2", "comment"]
    assert asked["brief.2"] == "No longer than needed."
    assert list(rated.questions[0].labels) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_rating_without_criteria_asks_for_the_whole(language):
    assert [q.name for q in form("rating", language).questions] == ["quality.1", "quality.2", "comment"]


def test_a_rewrite_shows_one_answer():
    assert list(form("rewrite").fields) == ["prompt", "reference", "answer_1"]
    assert [(q.name, q.kind) for q in form("rewrite").questions] == [("rewrite", "text"), ("comment", "text")]


def test_an_adjudication_is_a_dataset_of_its_own_that_one_person_settles():
    first, second = form(min_submitted=3), form(min_submitted=3, number=1)
    assert (first.name, first.min_submitted) == ("mine-choice", 3)
    assert (second.name, second.min_submitted) == ("mine-choice-adjudication", 1)
    assert second.questions == first.questions
    assert second.guidelines.endswith(first.guidelines)
    assert "did not agree" in second.guidelines


@pytest.mark.parametrize("text", ["{number}", "{{ 7*7 }}", "{% raw %}", "%s ${HOME}", "<b>&amp;</b>", "---\nid: x", "{0.__class__}"])
def test_text_from_outside_is_shown_as_it_is(text):
    shown = fields_of(prompt(text, reference=text), [text, text])
    assert shown == {"prompt": text, "reference": text, "answer_1": text, "answer_2": text}
    criterion = form("rating", criteria={text: text}).questions[0]
    assert text in criterion.title
    assert criterion.description == text


def test_a_prompt_without_a_reference_shows_none():
    assert list(fields_of(prompt("why?"), ["a", "b"])) == ["prompt", "answer_1", "answer_2"]


def test_a_language_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(RecipeError, match=r"annotate.language: found 'fr'.*de, en, es"):
        form(language="fr")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("fields: {prompt: p, reference: r}", "fields.answer"),
        ("about: only", "lacks 'fields'"),
        ("questons: {}", "did you mean 'questions'"),
        ("[", "not YAML"),
    ],
)
def test_a_file_of_ones_own_that_is_wrong_is_refused_in_a_sentence(head, said, tmp_path: Path, monkeypatch):
    whole = "questions: {}\nadjudication: a\n" if head.startswith("fields") else ""
    (tmp_path / "annotate" / "xx").mkdir(parents=True)
    (tmp_path / "annotate" / "xx" / "choice.md").write_text(f"---\n{head}\n{whole}---\nDo it.\n")
    monkeypatch.setattr(prompts, "FOLDER", tmp_path)
    with pytest.raises(RecipeError, match="xx/choice") as refused:
        form(language="xx")
    assert said in str(refused.value)
    assert "recipe" not in str(refused.value)


def test_a_file_that_lacks_a_question_is_refused_in_a_sentence(tmp_path: Path, monkeypatch):
    (tmp_path / "annotate" / "xx").mkdir(parents=True)
    text = (FOLDER / "annotate" / "en" / "choice.md").read_text().replace("  strength:", "  strenght:")
    (tmp_path / "annotate" / "xx" / "choice.md").write_text(text)
    monkeypatch.setattr(prompts, "FOLDER", tmp_path)
    with pytest.raises(RecipeError, match=r"xx/choice.*'strength'.*did you mean 'strenght'"):
        form(language="xx")
