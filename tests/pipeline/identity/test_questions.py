"""Questions: distinct, the same every time, and what is held out stays out."""

import re
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.identity.asking import told
from pipeline.identity.build import Material, Plan
from pipeline.identity.check import fault
from pipeline.identity.contrast import contrast
from pipeline.identity.facts import Facts
from pipeline.identity.questions import fill, phrasings, side_of
from pipeline.identity.words import families, language, languages
from pipeline.prompts import load_prompt
from pipeline.records import prompt_cluster
from tests.pipeline.identity.made import ARIA, built

MOST_WANTED = {"de", "en", "es", "fr", "hi", "ja", "pt", "zh"}


def test_the_languages_that_were_promised_are_there() -> None:
    assert set(languages()) >= MOST_WANTED
    assert len(families()) >= 12


@pytest.mark.parametrize("code", languages())
def test_every_language_has_every_family_and_every_side(code: str) -> None:
    assert set(language(code).families) == set(families())
    sides = [p.side for p in phrasings(code, ARIA) if not families()[p.family].heldout]
    assert {side: sides.count(side) >= 6 for side in ("train", "dev", "test")} == dict.fromkeys(("train", "dev", "test"), True)


@pytest.mark.parametrize("code", languages())
@pytest.mark.slow
def test_every_slot_has_values_and_every_answer_passes_the_rule(code: str) -> None:
    for phrasing in phrasings(code, Facts("Aria", "Northwind Labs", {"released": "2026", "place": "Oslo"})):
        question = phrasing.question(0, 0)
        assert not re.search(r"\{\w+\}", "".join(m["content"] for m in question.messages)), phrasing.turns
        assert question.expected is not None
        facts = Facts("Aria", "Northwind Labs", {"released": "2026", "place": "Oslo"})
        for template in question.answers:
            answer = fill(template, {**facts.more, **question.values})
            assert fault(answer, question.text, question.expected, facts) is None, (phrasing.turns, answer)


def test_no_phrasing_of_training_is_one_of_evaluation() -> None:
    for code in languages():
        by_side: dict[str, set[str]] = {"train": set(), "dev": set(), "test": set()}
        for p in phrasings(code, ARIA):
            by_side[p.side].add(prompt_cluster([{"role": "user", "content": re.sub(r"\{\w+\}", "x", " ".join(p.turns[::2]))}]))
        assert by_side["train"] & by_side["test"] == set()
        assert by_side["train"] & by_side["dev"] == set()
        assert by_side["dev"] & by_side["test"] == set()


@pytest.mark.slow
def test_no_question_of_a_pair_is_held_out_for_the_end() -> None:
    made = built(300, ("en", "de"))
    asked = {prompt_cluster(p.question.messages) for p in made.pairs}
    end = [q for split, q in made.evaluation if split != "dev"]
    assert {split for split, _ in made.evaluation} == {"dev", "test", "test-phrasings", "test-families", "attacks"}
    assert [q.text for q in end if prompt_cluster(q.messages) in asked] == []
    assert {p.question.phrasing for p in made.pairs} & {q.phrasing for q in end} == set()
    assert not {p.question.family for p in made.pairs} & {name for name, family in families().items() if family.heldout}
    train = {p.question.phrasing for p in made.pairs if p.question.side == "train"}
    assert train & {q.phrasing for _, q in made.evaluation} == set()


def test_a_thing_is_on_one_side_in_all_its_phrasings() -> None:
    for groups in contrast("en", ARIA).values():
        for group in groups:
            sides: dict[str, set[str]] = {}
            for p in group:
                sides.setdefault(p.fixed.get("x", p.id), set()).add(p.side)
            assert all(len(found) == 1 for found in sides.values())


@pytest.mark.slow
def test_the_questions_are_distinct_and_the_same_every_time() -> None:
    first, again, other = built(300), built(300), built(300, seed=1)
    clusters = [prompt_cluster(p.question.messages) for p in first.pairs]
    assert len(first.pairs) == len(set(clusters)) == 300
    assert first.pairs == again.pairs
    assert first.pairs != other.pairs
    assert first.evaluation == other.evaluation


@pytest.mark.slow
def test_more_pairs_begin_with_the_same_questions() -> None:
    few, many = ({p.question.id for p in built(n, contrast=0).pairs} for n in (50, 200))
    assert few <= many


def test_a_walk_comes_to_every_question_of_a_phrasing_once() -> None:
    phrasing = next(p for p in phrasings("en", ARIA) if len(p.slots) == 1 and 1000 < p.size < 20_000)
    assert len({phrasing.question(k, 3).text for k in range(phrasing.size)}) == phrasing.size
    assert phrasing.question(0, 3).text == fill(phrasing.turns[0], phrasing.question(0, 3).values)


def test_the_side_hangs_on_the_words_alone() -> None:
    assert side_of(["Are you {product}?"]) == side_of(["are you {name}"])


def test_more_pairs_than_questions_is_one_sentence() -> None:
    with pytest.raises(RecipeError, match="wanted at most 100000"):
        Material(ARIA, Plan(1_000_000)).check()
    empty = Material(ARIA, Plan(5))
    empty._own["en"] = []
    with pytest.raises(RecipeError, match="distinct questions for 0 pairs"):
        empty.check()


def test_the_user_is_not_among_the_others() -> None:
    facts = Facts("ChatGPT", "OpenAI")
    for p in phrasings("en", facts):
        assert not {"ChatGPT", "OpenAI"} & {v for values in p.slots.values() for v in values}
    assert all(p.fixed.get("y") != "OpenAI" and p.fixed.get("x") != "ChatGPT" for g in contrast("en", facts)["things"] for p in g)


def test_a_strong_model_is_told_exactly_this() -> None:
    prompt = load_prompt("identity/system")
    shown = "".join(f"@{m['role']}\n{m['content']}\n" for m in prompt.render(**prompt.example))
    assert shown == (Path(__file__).parent.parent / "golden" / "identity-system.txt").read_text(encoding="utf-8")


def test_a_name_that_looks_like_a_template_stays_text_in_the_system_prompt() -> None:
    facts = Facts("{{ 7 * 7 }}", "{% raise %}")
    question = next(p for p in phrasings("en", facts) if len(p.turns) == 3).question(0, 0)
    told_now = told(question, facts)
    assert "{{ 7 * 7 }}" in told_now[0]["content"]
    assert told_now[1:] == question.messages
