"""Who else an answer may claim to be: known assistants, and made-up names of the length that is needed."""

from collections.abc import Mapping, Sequence
from random import Random

from pipeline.identity.facts import Facts
from pipeline.identity.names import mentions, same
from pipeline.identity.words import others


def other(rng: Random, facts: Facts, code: str, asked: Mapping[str, str]) -> Facts:
    """Another assistant and its maker, about as long as the true ones, in the language's own script now and then.

    Half the time those that the question puts into the answer's mouth (`product`, `company` of `asked`): to agree is the mistake.
    """
    native = others().native.get(code)
    known = [*others().products, *(native.products if native else [])]
    makers = [*others().companies, *(native.companies if native else [])]
    echo = asked if rng.random() < 0.5 else {}
    return Facts(echo.get("product") or _near(rng, known, facts.name, facts), echo.get("company") or _near(rng, makers, facts.maker, facts))


def _near(rng: Random, known: Sequence[str], like: str, facts: Facts) -> str:
    made_up = _made_up(rng, len(like), company=like == facts.maker)
    candidates = [*rng.sample(known, min(7, len(known))), made_up]
    free = [c for c in candidates if not any(same(c, own) or mentions(c, own) or mentions(own, c) for own in facts.own)]
    # Of those at hand one of the four nearest in length: always the nearest would make one wrong name stand for all.
    return rng.choice(sorted(free or [made_up + "a"], key=lambda c: abs(len(c) - len(like)))[:4])


def _made_up(rng: Random, length: int, *, company: bool) -> str:
    parts = others().made_up
    heads, tail = (parts.makers, rng.choice(parts.kinds)) if company else (parts.names, "")
    name = [rng.choice(heads)]
    while len(" ".join([*name, tail])) + 6 < length:
        name.append(rng.choice(heads))
    return " ".join([*name, tail]).strip()
