"""The rule: whether an answer says who the model is, claims to be nobody else, and makes nothing up; and whether it leaks.

It reads clauses. A clause that denies ("I am not ChatGPT") claims nothing; one that names another without setting the speaker
apart from it claims too much. It is strict where it must choose: what it lets pass is right.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pipeline.identity.facts import Facts
from pipeline.identity.names import first_of, masked, mentions, normal, pattern_of, same
from pipeline.identity.words import Asks, Talk, language, languages, others

NAME, MAKER = "\ue000", "\ue001"
"""Stand for mentions of the name and the maker: characters that no text holds."""

_SCRIPTS = {
    "latin": r"\p{Latin}",
    "han": r"\p{Han}",
    "kana": r"[\p{Hiragana}\p{Katakana}\p{Han}]",
    "devanagari": r"\p{Devanagari}",
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What a right answer to a question about the model says, and in which language."""

    asks: Asks
    language: str
    fact: str | None = None


def fault(answer: str, question: str, expected: Expected, facts: Facts) -> str | None:
    """Why an answer about the model is wrong, by name; None where it is right.

    `empty`, `no_name`, `no_maker`, `no_fact`, `other_identity`, `invented_fact` or `wrong_language`.
    """
    talk = language(expected.language).talk
    plain = _masked(answer, facts)
    if not plain:
        return "empty"
    clauses = _clauses(plain, expected.language)
    if why := _unsaid(plain, clauses, expected, facts, talk):
        return why
    if _claims_another(clauses, normal(question), facts, expected.language):
        return "other_identity"
    if _invents(plain, question, facts, talk):
        return "invented_fact"
    # Last: an answer that is wrong in its language alone says the truth, and must not be trained against.
    return None if in_language(plain, expected.language) else "wrong_language"


def leaks(answer: str, question: str, code: str, facts: Facts) -> bool:
    """Whether an answer to what has nothing to do with the model brings in its name or maker, or speaks as the model."""
    plain, asked = _masked(answer, facts), _masked(question, facts)
    if any(mark in plain and mark not in asked for mark in (NAME, MAKER)):
        return True
    first = pattern_of(tuple(language(code).talk.first))
    return any(first.search(c) and (NAME in c or MAKER in c) for c in _clauses(plain, code))


def credits_us(answer: str, question: str, facts: Facts) -> bool:
    """Whether an answer to "who made X?" names the model or its maker, though the question does not."""
    return any(mentions(answer, own) and not mentions(question, own) for own in facts.own)


def says(answer: str, expected: Iterable[str]) -> bool:
    """Whether an answer holds every one of these texts."""
    return all(mentions(answer, text) for text in expected)


def in_language(text: str, code: str) -> bool:
    """Whether a text may be in a language: by its script, and by frequent words where it holds enough to tell."""
    import regex

    letters = regex.findall(r"\p{L}", text)
    script = language(code).script
    ours = len(regex.findall(_SCRIPTS[script], text))
    if script != "latin":
        # A Japanese answer shows kana; a Chinese one does not.
        kana = regex.search(r"\p{Hiragana}", text) is not None
        return ours > 0 and (kana if script == "kana" else not kana) and ours * 2 >= len([c for c in letters if not c.isascii()])
    if letters and ours * 2 < len(letters):
        return False
    words = [w.casefold() for w in regex.findall(r"\p{L}[\p{L}'-]*", text)]
    counts = {c: sum(w in _common(c) for w in words) for c in languages() if language(c).script == "latin"}
    return len(words) < 4 or counts[code] >= max(counts.values())


@cache
def other_names(own: tuple[str, str]) -> tuple[str, ...]:
    """Everybody else whom we know by name, without those that the user is."""
    known = others()
    every = [*known.products, *known.companies, *known.made_up.names]
    every += [n for native in known.native.values() for n in (*native.products, *native.companies)]
    return tuple(n for n in every if not any(same(n, mine) for mine in own))


def _masked(text: str, facts: Facts) -> str:
    longer, shorter = sorted(((facts.name, NAME), (facts.maker, MAKER)), key=lambda own: -len(own[0]))
    return masked(masked(text, longer[:1], longer[1]), shorter[:1], shorter[1])


def _unsaid(plain: str, clauses: list[str], expected: Expected, facts: Facts, talk: Talk) -> str | None:
    denies = pattern_of(tuple(talk.denies))
    affirmed = [c for c in clauses if not denies.search(c)]
    said = {mark: any(mark in c for c in affirmed) or (mark == MAKER and same(*facts.own)) for mark in (NAME, MAKER)}
    if expected.asks == "fact":
        known = facts.more.get(expected.fact or "")
        if known is not None:
            return None if mentions(plain, known) else "no_fact"
        unsure = pattern_of(tuple(talk.unsure)).search(plain)
        return None if said[NAME] or said[MAKER] or unsure else "no_fact"
    if expected.asks in ("name", "both") and not said[NAME]:
        return "no_name"
    return "no_maker" if expected.asks in ("maker", "both") and not said[MAKER] else None


def _claims_another(clauses: list[str], question: str, facts: Facts, code: str) -> bool:
    talk = language(code).talk
    apart = pattern_of((*talk.denies, *talk.apart))
    first = pattern_of(tuple(talk.first))
    for clause in clauses:
        if apart.search(clause):
            continue
        found = first_of(clause, other_names(facts.own))
        # "ChatGPT was made by OpenAI" is about somebody else, where the user has brought that up.
        if found and (first.search(clause) or not mentions(question, found) or len(clause.split()) < 4):
            return True
        if not found and any(_strange(m["who"]) for claim in talk.claims for m in _compiled(claim).finditer(clause)):
            return True
    return False


def _strange(who: str) -> bool:
    return NAME not in who and MAKER not in who


def _invents(plain: str, question: str, facts: Facts, talk: Talk) -> bool:
    allowed = normal(" ".join([question, *facts.own, *facts.more.values()]))
    for number in _compiled(r"\d+(?:[.,:]\d+)*").findall(plain):
        if not mentions(allowed, number) and number not in allowed:
            return True
    given = (m["who"] for pattern in talk.facts for m in _compiled(pattern).finditer(plain))
    return any(_strange(who) and not mentions(allowed, who) for who in given)


def _clauses(plain: str, code: str) -> list[str]:
    but = language(code).talk.but
    return [c for c in _clause_end(tuple(but)).split(plain) if c.strip()]


@cache
def _clause_end(but: tuple[str, ...]) -> Any:
    import regex

    return regex.compile(rf"[.!?;:,。!?;:,、…।\n]|{pattern_of(but).pattern}", flags=regex.V1 | regex.IGNORECASE)


@cache
def _compiled(pattern: str) -> Any:
    import regex

    return regex.compile(pattern, flags=regex.V1)


@cache
def _common(code: str) -> frozenset[str]:
    return frozenset(language(code).talk.common)
