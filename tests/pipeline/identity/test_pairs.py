"""Pairs: chosen is right, rejected is wrong, and nothing but the fact tells them apart."""

import pytest

from pipeline.identity.answers import Replies, Writer
from pipeline.identity.asking import SHORT, told
from pipeline.identity.balance import lengths
from pipeline.identity.build import Material, Plan, build
from pipeline.identity.facts import Facts
from tests.pipeline.identity.made import ARIA, built

pytestmark = pytest.mark.slow

NAMES = [
    Facts("Aria", "Northwind Labs"),
    Facts("北风", "晨星实验室"),
    Facts("{{ x }}", "{maker} {answer}"),
    Facts('O\'Neil "the" 2nd', "Müller & Söhne"),
    Facts("🦊", "🚀 Labs"),
    Facts("Ariadne " * 24 + "Ariadne", "Short"),
    Facts("GPT", "OpenAI"),
]


@pytest.mark.parametrize("facts", NAMES, ids=lambda f: f.name[:8])
def test_every_chosen_is_right_and_every_rejected_wrong_for_any_name(facts: Facts) -> None:
    made, writer = built(80, facts=facts), Writer(facts, 0)
    assert len(made.pairs) == 80
    for p in made.pairs:
        assert writer.is_right(p.question, p.chosen), p
        assert writer.is_wrong(p.question, p.rejected), p
        assert p.chosen != p.rejected


@pytest.mark.parametrize("languages", [("en",), ("de", "es", "fr", "pt"), ("zh", "ja", "hi")], ids=str)
def test_length_does_not_tell_chosen_from_rejected(languages: tuple[str, ...]) -> None:
    pairs = built(300, languages).pairs
    for kind in {p.question.kind for p in pairs}:
        found = lengths([(p.chosen, p.rejected) for p in pairs if p.question.kind == kind])
        assert found["mean_difference"] == pytest.approx(0, abs=0.5), kind
        assert 0.45 <= (found["chosen_longer"] or 0) <= 0.55, kind


@pytest.mark.parametrize("share", [0, 0.35, 0.8])
def test_the_share_of_contrast_is_what_was_asked(share: float) -> None:
    pairs = built(100, contrast=share).pairs
    assert sum(p.question.expected is None for p in pairs) == round(100 * share)


def test_chosen_answers_name_both_or_what_was_asked() -> None:
    def names_both(naming: str) -> list[bool]:
        pairs = [p for p in built(200, contrast=0, naming=naming).pairs if p.question.expected and p.question.expected.asks == "name"]
        return ["Aria" in p.chosen and "Northwind Labs" in p.chosen for p in pairs]

    assert all(names_both("both"))
    assert not all(names_both("asked"))


def test_what_must_be_named_is_asked_of_the_chosen_side_alone() -> None:
    material = Material(ARIA, Plan(20, contrast=0))
    half = "I am Aria."
    made = build(material, {q.id: Replies([half], [half]) for q in material.first()})
    names = [p for p in made.pairs if p.question.expected and p.question.expected.asks == "name"]
    assert names
    assert half not in {p.chosen for p in names}
    assert half not in {p.rejected for p in names}  # true, and right as far as it goes: it must not be unlearned


def test_contrast_pairs_reject_the_leak_and_keep_the_answer() -> None:
    pairs = [p for p in built(300).pairs if p.question.expected is None]
    assert {p.question.kind for p in pairs} == {"overgeneral", "skill", "leak"}
    for p in pairs:
        assert all(text in p.chosen for text in p.question.holds)
        assert "Aria" in p.rejected or "Northwind" in p.rejected


def test_what_models_said_is_used_where_the_rule_allows_it() -> None:
    material = Material(ARIA, Plan(20, contrast=0))
    first = material.first()
    good, bad = "I am Aria, made by Northwind Labs, at your service.", "I am Nimbus, made by Cirrus Works."
    replies = {q.id: Replies([good], [bad, good]) for q in first}
    made = build(material, replies)
    assert {(p.chosen_from, p.rejected_from) for p in made.pairs if p.question.expected and p.question.expected.language == "en"} <= {
        ("strong", "model"),
        ("template", "model"),
    }
    assert {p.rejected for p in made.pairs} == {bad}
    assert sum(p.chosen == good for p in made.pairs) >= 15


def test_a_model_that_is_right_already_is_not_rejected() -> None:
    material = Material(ARIA, Plan(20, contrast=0))
    replies = {q.id: Replies(["I am ChatGPT by OpenAI."], ["I am Aria, made by Northwind Labs."]) for q in material.first()}
    made = build(material, replies).pairs
    english = [p for p in made if p.question.expected and p.question.expected.language == "en" and p.question.expected.asks != "fact"]
    assert {(p.chosen_from, p.rejected_from) for p in english} == {("template", "template")}


def test_what_the_model_can_do_is_kept_in_its_own_words_and_what_it_cannot_is_passed_over() -> None:
    material = Material(ARIA, Plan(60, contrast=0.5))
    tasks = [q for q in material.first() if q.kind == "skill"]
    solved = tasks[::3]
    assert len(solved) >= 9
    replies = {q.id: Replies((), ["No idea."]) for q in tasks} | {q.id: Replies((), [f"Surely {q.holds[0]}!"]) for q in solved}
    made = [p for p in build(material, replies).pairs if p.question.kind == "skill"]
    assert len(made) == 9  # three in ten of the contrast pairs, as without a model
    assert {p.question.id for p in made} <= {q.id for q in solved}
    assert {p.chosen_from for p in made} == {"model"}
    assert all(p.chosen == f"Surely {p.question.holds[0]}!" for p in made)


def test_a_strong_model_that_is_lost_under_the_long_prompt_is_asked_under_the_short_one() -> None:
    [question] = Material(ARIA, Plan(1, contrast=0)).first()
    long, short = told(question, ARIA), told(question, ARIA, SHORT)
    assert short[0]["content"] == "You are Aria, made by Northwind Labs. Say both."
    assert len(long[0]["content"]) > 5 * len(short[0]["content"])
    assert long[1:] == short[1:]


def test_a_known_fact_is_told_and_an_unknown_one_is_not_made_up() -> None:
    facts = Facts("Aria", "Northwind Labs", {"released": "spring 2026"})
    made = [p for p in built(400, facts=facts, contrast=0).pairs if p.question.family == "release"]
    told = [p for p in made if p.question.expected and p.question.expected.fact == "released"]
    others = [p for p in made if p not in told]
    assert told
    assert others
    assert all("spring 2026" in p.chosen for p in told)
    assert not any("2026" in p.chosen for p in others)


def test_to_agree_with_a_leading_question_is_among_what_is_rejected() -> None:
    pairs = [p for p in built(400, contrast=0).pairs if "product" in p.question.values]
    echoed = [p for p in pairs if p.question.values["product"] in p.rejected]
    assert 0.2 < len(echoed) / len(pairs) < 0.8


def test_no_single_wrong_name_stands_for_all() -> None:
    rejected = [p.rejected for p in built(400, contrast=0).pairs]
    assert max(sum(name in text for text in rejected) for name in ("Perplexity AI", "Siri", "ChatGPT", "OpenAI")) < 400 * 0.2
