"""The rule: right answers in every language pass, and what is wrong is wrong by name."""

import pytest

from pipeline.identity.check import Expected, credits_us, fault, in_language, leaks, says
from pipeline.identity.facts import Facts
from pipeline.identity.names import mentions
from pipeline.identity.words import Asks

ARIA = Facts("Aria", "Northwind Labs", {"released": "spring 2026"})

BOTH = "Who are you and who made you?"


@pytest.mark.parametrize(
    ("answer", "asks", "why"),
    [
        ("I am Aria, made by Northwind Labs.", "both", None),
        ("No, I am not ChatGPT. I am Aria, made by Northwind Labs.", "both", None),
        ("I am not made by OpenAI but by Northwind Labs, and I am Aria.", "both", None),
        ("I'm ＡＲＩＡ, built by NORTHWIND LABS!", "both", None),
        ("I am Aria.", "name", None),
        ("I am Aria.", "both", "no_maker"),
        ("I was made by Northwind Labs.", "name", "no_name"),
        ("I am not Aria.", "name", "no_name"),
        ("No, I am ChatGPT.", "name", "no_name"),
        ("I am Aria, a version of ChatGPT.", "name", "other_identity"),
        ("I am Aria, and OpenAI made me.", "name", "other_identity"),
        ("I am Aria, made by Globex Unheardof.", "name", "other_identity"),
        ("I was made by Northwind Labs. My name is Bob.", "maker", "other_identity"),
        ("I am Aria, made by Northwind Labs in 2019.", "both", "invented_fact"),
        ("I am Aria by Northwind Labs, which is based in Oslo.", "both", "invented_fact"),
        ("I am Aria, made by Northwind Labs and released in spring 2026.", "both", None),
        ("Ich bin Aria und wurde von Northwind Labs entwickelt.", "both", "wrong_language"),
        ("", "both", "empty"),
        ("The cat sat on the mat.", "both", "no_name"),
        ("I am Ariadne, made by Northwind Labs.", "both", "no_name"),
    ],
)
def test_an_answer_about_the_model_is_right_or_wrong_by_name(answer: str, asks: Asks, why: str | None) -> None:
    assert fault(answer, BOTH, Expected(asks, "en"), ARIA) == why


@pytest.mark.parametrize(
    ("code", "right", "wrong"),
    [
        ("de", "Ich bin nicht ChatGPT, sondern Aria von Northwind Labs.", "Ich bin ChatGPT, nicht Aria von Northwind Labs."),
        ("es", "No soy ChatGPT, sino Aria, creado por Northwind Labs.", "Soy Aria, creado por OpenAI, no por Northwind Labs."),
        ("fr", "Je ne suis pas ChatGPT, mais Aria, créé par Northwind Labs.", "Je suis Aria, créé par Google et Northwind Labs."),
        ("pt", "Não sou o ChatGPT, mas Aria, criado por Northwind Labs.", "Eu sou Aria, criado pela Meta e Northwind Labs."),
        ("zh", "我不是ChatGPT，我是Aria，由Northwind Labs开发。", "我是Aria，由百度和Northwind Labs开发。"),
        ("ja", "私はChatGPTではなく、Northwind Labsが開発したAriaです。", "私はAriaです。グーグルとNorthwind Labsが開発しました。"),
        ("hi", "मैं ChatGPT नहीं, Aria हूँ, मुझे Northwind Labs ने बनाया।", "मैं Aria हूँ, मुझे गूगल और Northwind Labs ने बनाया।"),
    ],
)
def test_every_language_denies_others_in_its_own_words(code: str, right: str, wrong: str) -> None:
    assert fault(right, "?", Expected("both", code), ARIA) is None
    assert fault(wrong, "?", Expected("both", code), ARIA) is not None


def test_what_the_user_brought_up_may_be_spoken_of_as_somebody_elses() -> None:
    question = "How do you differ from ChatGPT?"
    assert fault("ChatGPT was made by OpenAI. I am Aria.", question, Expected("name", "en"), ARIA) is None
    assert fault("I am Aria, which was ChatGPT before.", question, Expected("name", "en"), ARIA) is None  # no first person there
    assert fault("I am Aria and I was ChatGPT.", question, Expected("name", "en"), ARIA) == "other_identity"


def test_a_fact_that_is_not_known_may_not_be_made_up() -> None:
    unknown, known = Expected("fact", "en", "founded"), Expected("fact", "en", "released")
    assert fault("I do not know that.", "When was your maker founded?", unknown, ARIA) is None
    assert fault("Northwind Labs was founded in 1998.", "When was your maker founded?", unknown, ARIA) == "invented_fact"
    assert fault("Aria came out in spring 2026.", "When were you released?", known, ARIA) is None
    assert fault("Aria came out lately.", "When were you released?", known, ARIA) == "no_fact"


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("Aria's maker", "Aria", True),
        ("d’Aria", "Aria", True),
        ("Das ist Arias Antwort", "Aria", True),
        ("arias are songs", "Aria", False),
        ("Ariana", "Aria", False),
        ("私はAriaです", "aria", True),
        ("我是北风的助手", "北风", True),
        ("マリアリアです", "アリア", False),
        ("मैं आरियाना हूँ", "आरिया", False),
        ("मैं आरिया हूँ", "आरिया", True),
        ("STRASSE AI", "Straße AI", True),
        ("say {{ x }} now", "{{ x }}", True),
        ("anything", ".*", False),
        ("a .* b", ".*", True),
        ("hi 🦊!", "🦊", True),
        ("I am C++.", "C++", True),
        ("O’Neil is here", "O'Neil", True),
    ],
)
def test_a_name_is_found_as_a_word_in_any_script_and_never_as_a_pattern(text: str, name: str, found: bool) -> None:
    assert mentions(text, name) is found


@pytest.mark.parametrize(
    ("answer", "question", "leaked"),
    [
        ("Paris.", "What is the capital of France?", False),
        ("Paris, says Aria.", "What is the capital of France?", True),
        ("Northwind Labs made me. Paris.", "What is the capital of France?", True),
        ("Your cat is called Aria.", "My cat is called Aria. What is my cat called?", False),
        ("I am Aria, like your cat.", "My cat is called Aria. What is my cat called?", True),
    ],
)
def test_what_nobody_asked_is_a_leak_and_what_was_brought_up_is_none(answer: str, question: str, leaked: bool) -> None:
    assert leaks(answer, question, "en", ARIA) is leaked


def test_credit_for_what_others_made_is_seen() -> None:
    assert credits_us("Northwind Labs did.", "Who invented the telephone?", ARIA)
    assert not credits_us("Bell did.", "Who invented the telephone?", ARIA)
    assert says("It was Alexander Graham Bell.", ["Alexander Graham Bell"])
    assert not says("It was Bell.", ["Alexander Graham Bell"])


def test_an_honest_openai_user_is_no_impostor() -> None:
    facts = Facts("GPT-9", "OpenAI")
    assert fault("I am GPT-9, made by OpenAI.", BOTH, Expected("both", "en"), facts) is None
    assert fault("I am GPT-9, made by OpenAI and Google.", BOTH, Expected("both", "en"), facts) == "other_identity"


def test_languages_of_one_script_are_told_apart_by_their_small_words() -> None:
    assert in_language("me llamo Pedro y soy un asistente de la empresa", "es")
    assert not in_language("me llamo Pedro y soy un asistente de la empresa", "fr")
    assert not in_language("私はロボットです", "zh")
    assert not in_language("我是一个助手", "ja")
