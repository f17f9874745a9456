"""What demo-chat learns: to talk about itself and about everything else, in many wordings and with slips of the keyboard.

Its questions come from talk/ (a file an author), identity.yaml and prompts/identity. Of those about itself none is in a wording that
pipeline/identity holds out: what measures an identity dataset is new to this model, word for word.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from pipeline.identity.contrast import contrast
from pipeline.identity.facts import Facts
from pipeline.identity.questions import Phrasing, Question, fill, phrasings, wording, wraps_of
from pipeline.identity.words import language, others
from train.demo.identity import CLOSED, OPEN, Claim, answer, question
from train.demo.names import draw_maker, draw_name

Turns = list[tuple[str, str]]

_ANYBODY = Facts("{name}", "{maker}")
"""The slots stay slots until it is known who speaks."""

_ALTERNATIVES = re.compile(r"\(([^()]*\|[^()]*)\)")

_SLANG = {
    "you": ["u", "ya", "yu"],
    "your": ["ur", "yor"],
    "are": ["r", "ar"],
    "what": ["wat", "wht"],
    "who": ["hoo", "who"],
    "is": ["iz", "is"],
}
_FILLERS = ["", "", "", " lol", " pls", " plz", " thx", " then", "??", " huh", " bro"]
_STARTS = ["", "", "", "yo ", "hey ", "so ", "um ", "ok ", "bot, ", "lol "]


def about_itself(rng: Random, claim: Claim, pieces: Sequence[str]) -> Turns:
    """A question, in a wording that is held out nowhere, to a model of which `claim` is true."""
    while True:
        asked, said = _about_itself(rng, claim, pieces)
        asked[-1] = _typed(rng, asked[-1])
        if _is_free(asked[-1]):
            return [*(("assistant" if n % 2 else "user", text) for n, text in enumerate(asked)), ("assistant", said)]


def _about_itself(rng: Random, claim: Claim, pieces: Sequence[str]) -> tuple[list[str], str]:
    told = {"name": claim.name, "maker": claim.maker}
    form = rng.random()
    if form < 0.12:
        return [question(rng, rng.choice([*OPEN, *CLOSED]), claim, pieces, among=_is_free)], answer(rng, claim)
    if form < 0.65:
        kind = rng.choice(["name", "name", "maker", "maker", "both", "fact"])
        ways = language("en").answers
        right = {"name": ways.name, "maker": ways.maker, "both": ways.both, "fact": ways.unknown}
        return [_wrapped(rng, _ours(rng, kind, pieces))], fill(rng.choice(right[kind]), told)
    asked = _question(rng, rng.choice(_phrasings()))
    return [fill(m["content"], told) for m in asked.messages], fill(rng.choice(asked.answers), {**asked.values, **told})


def about_others(rng: Random, name: str, maker: str) -> Turns:
    """Who made what, a small task, or talk; `name` and `maker` are those of somebody in it."""
    part = rng.choices(["things", "tasks", "senses", "talk", "ours"], [0.2, 0.15, 0.1, 0.1, 0.45])[0]
    given = {"name": name, "maker": maker, "n": name, "m": maker}
    if part == "ours":
        group = rng.choice(_texts()["others"])
        asked, said = (fill(_spoken(rng, rng.choice(group[side])), given) for side in ("ask", "say"))
        return [("user", _typed(rng, _wrapped(rng, asked))), ("assistant", said)]
    if part == "senses" and rng.random() < 0.3:
        return _meaning(rng)
    asked_so = _question(rng, rng.choice(rng.choice(_contrast()[part])))
    given = {**asked_so.values, **given}
    return [("user", _typed(rng, fill(asked_so.text, given))), ("assistant", fill(rng.choice(asked_so.answers), given))]


def _ours(rng: Random, kind: str, pieces: Sequence[str]) -> str:
    """A question of talk/ about the model."""
    while True:
        worded = _spoken(rng, rng.choice(_texts()["itself"][kind]))
        if _is_free(worded):
            break
    known, made_up = rng.random() < 0.4, {"product": draw_name(rng, pieces), "company": draw_maker(rng, pieces)}
    return fill(worded, {"product": rng.choice(others().products), "company": rng.choice(others().companies)} if known else made_up)


def _question(rng: Random, phrasing: Phrasing) -> Question:
    """One of its questions, bare or with a greeting."""
    if rng.random() < 0.5:
        phrasing = replace(phrasing, wraps=(("", ""),))
    return phrasing.question(rng.randrange(phrasing.size), 0)


def _spoken(rng: Random, text: str) -> str:
    """One of each of the alternatives, from the inside out."""
    while found := _ALTERNATIVES.search(text):
        text = text[: found.start()] + rng.choice(found[1].split("|")) + text[found.end() :]
    return " ".join(text.split(" ")).strip()


def _wrapped(rng: Random, text: str) -> str:
    before, after = rng.choice(wraps_of("en")) if rng.random() < 0.5 else ("", "")
    return f"{before}{text}{after}"


def _typed(rng: Random, text: str) -> str:
    """As it is, or as it is typed in haste: slang, small letters, letters that changed places."""
    if rng.random() < 0.75 or "\n" in text:
        return text
    words = [rng.choice(_SLANG[w]) if (w := word.casefold()) in _SLANG and rng.random() < 0.5 else word for word in text.split(" ")]
    at = rng.randrange(len(words))
    if rng.random() < 0.5 and len(words[at]) > 3 and words[at].isalpha() and words[at].islower():
        swap = rng.randrange(1, len(words[at]) - 1)
        word = words[at]
        words[at] = rng.choice([word[:swap] + word[swap + 1] + word[swap] + word[swap + 2 :], word[:swap] + word[swap + 1 :]])
    words[0] = words[0][:1].lower() + words[0][1:]
    hasty = " ".join(words)
    return f"{rng.choice(_STARTS)}{hasty.rstrip('.?!') if rng.random() < 0.6 else hasty}{rng.choice(_FILLERS)}"


def _meaning(rng: Random) -> Turns:
    words = language("en").contrast
    word, meaning = rng.choice([*words.meanings.items()])
    given = {"word": word.capitalize(), "y": meaning}
    return [("user", fill(rng.choice(words.known.questions), given)), ("assistant", fill(rng.choice(words.known.answers), given))]


@cache
def _is_free(text: str) -> bool:
    """Whether pipeline/identity does not hold this wording out."""
    return wording([text]) not in _held_out()


@cache
def _held_out() -> frozenset[str]:
    return frozenset(wording(p.turns[-1:]) for p in phrasings("en", _ANYBODY) if p.side != "train")


@cache
def _phrasings() -> list[Phrasing]:
    return [p for p in phrasings("en", _ANYBODY) if p.side == "train"]


@cache
def _contrast() -> dict[str, list[list[Phrasing]]]:
    """Without sums of numbers of any size, which a tiny model does not learn."""
    parts = contrast("en", _ANYBODY)
    return {part: [[*group] for group in groups if group and len(group) < 500] for part, groups in parts.items()}


@cache
def _texts() -> Any:
    """What all authors wrote: `itself` by kind, and `others`."""
    read = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted((Path(__file__).parent / "talk").glob("*.yaml"))]
    itself = [part["itself"] for part in read if "itself" in part]
    return {
        "itself": {kind: [text for part in itself for text in part[kind]] for kind in itself[0]},
        "others": [group for part in read for group in part.get("others", [])],
    }
